//===- RtDialect.td - what the runtime executes ---------------*- tablegen -*-===//

#ifndef CLEAVE_RT_DIALECT
#define CLEAVE_RT_DIALECT

include "mlir/IR/DialectBase.td"

def Rt_Dialect : Dialect {
  let name = "rt";
  let cppNamespace = "::cleave::rt";
  let summary = "commands of a rank, over tensors whose places are planned";
  let useDefaultAttributePrinterParser = 1;
}

#endif // CLEAVE_RT_DIALECT
