//===- DistDialect.td - who computes what, and what travels ---*- tablegen -*-===//

#ifndef CLEAVE_DIST_DIALECT
#define CLEAVE_DIST_DIALECT

include "mlir/IR/DialectBase.td"

def Dist_Dialect : Dialect {
  let name = "dist";
  let cppNamespace = "::cleave::dist";
  let summary = "parts of tensors, and collectives over the named axes of a mesh";
  let useDefaultAttributePrinterParser = 1;
}

#endif // CLEAVE_DIST_DIALECT
