//===- DistInterfaces.td - what all collectives answer --------*- tablegen -*-===//

#ifndef CLEAVE_DIST_INTERFACES
#define CLEAVE_DIST_INTERFACES

include "mlir/IR/OpBase.td"

def CollectiveOpInterface : OpInterface<"CollectiveOpInterface"> {
  let cppNamespace = "::cleave::dist";
  let description = [{
    An op in which the members of a group meet, or one of them sends to another. The
    ranks of one stage execute the same collectives in one order, whatever class they
    are of.
  }];
  let methods = [
    InterfaceMethod<"The axes that make its groups.",
                    "::llvm::SmallVector<::mlir::StringAttr>", "getGroupAxes">,
    InterfaceMethod<"Bytes that `member` of p sends, of a collective in a ring, one execution.",
                    "int64_t", "getBytesSent",
                    (ins "int64_t":$groupSize, "int64_t":$member)>
  ];
}

#endif // CLEAVE_DIST_INTERFACES
