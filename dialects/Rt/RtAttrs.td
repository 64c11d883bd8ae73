//===- RtAttrs.td - where bytes lie ---------------------------*- tablegen -*-===//

#ifndef CLEAVE_RT_ATTRS
#define CLEAVE_RT_ATTRS

include "RtDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

// The numbers are those of cleave_space.
def Rt_Space : I32EnumAttr<"Space", "a kind of memory",
    [I32EnumAttrCase<"File", 0, "file">, I32EnumAttrCase<"Param", 1, "param">,
     I32EnumAttrCase<"Arena", 2, "arena">, I32EnumAttrCase<"Input", 3, "input">,
     I32EnumAttrCase<"Output", 4, "output">]> {
  let cppNamespace = "::cleave::rt";
  let genSpecializedAttr = 0;
}

def Rt_PlaceAttr : AttrDef<Rt_Dialect, "Place"> {
  let mnemonic = "place";
  let summary = "a range of bytes in a space";
  let description = [{
    `index` numbers the inputs, the outputs and the files; other spaces have one
    block a rank.

    Example:
    ```mlir
    #rt.place<arena 0 at 4096 length 256>
    ```
  }];
  let parameters = (ins EnumParameter<Rt_Space>:$space, "int64_t":$index,
                        "int64_t":$offset, "int64_t":$bytes);
  let assemblyFormat = "`<` $space $index `at` $offset `length` $bytes `>`";
}

#endif // CLEAVE_RT_ATTRS
