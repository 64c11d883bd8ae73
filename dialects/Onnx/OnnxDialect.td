//===- OnnxDialect.td - the file as it is ---------------------*- tablegen -*-===//

#ifndef CLEAVE_ONNX_DIALECT
#define CLEAVE_ONNX_DIALECT

include "mlir/IR/DialectBase.td"

def Onnx_Dialect : Dialect {
  let name = "onnx";
  let cppNamespace = "::cleave::onnx";
  let summary = "an ONNX model as written, one generic op a node";
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

#endif // CLEAVE_ONNX_DIALECT
