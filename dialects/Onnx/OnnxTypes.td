//===- OnnxTypes.td - what tensor types do not say ------------*- tablegen -*-===//

#ifndef CLEAVE_ONNX_TYPES
#define CLEAVE_ONNX_TYPES

include "OnnxDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"

class Onnx_Type<string name, string typeMnemonic> : TypeDef<Onnx_Dialect, name> {
  let mnemonic = typeMnemonic;
}

def Onnx_ValueType : Onnx_Type<"Value", "value"> {
  let summary = "a value whose type the file does not say";
}

def Onnx_StringType : Onnx_Type<"String", "string"> {
  let summary = "the element type of a tensor of strings";
}

def Onnx_SequenceType : Onnx_Type<"Sequence", "sequence"> {
  let summary = "a sequence of values of one type";
  let parameters = (ins "::mlir::Type":$element);
  let assemblyFormat = "`<` $element `>`";
}

def Onnx_OptionalType : Onnx_Type<"Optional", "optional"> {
  let summary = "a value or none";
  let parameters = (ins "::mlir::Type":$element);
  let assemblyFormat = "`<` $element `>`";
}

class Onnx_Attr<string name, string attrMnemonic> : AttrDef<Onnx_Dialect, name> {
  let mnemonic = attrMnemonic;
}

def Onnx_DimsAttr : Onnx_Attr<"Dims", "dims"> {
  let summary = "the names of a tensor's symbolic dimensions";
  let description = [{
    The encoding of a ranked tensor type: one string a dimension, empty for a
    dimension with a size or without a name.

    Example:
    ```mlir
    tensor<?x8xi64, #onnx.dims<["batch", ""]>>
    ```
  }];
  let parameters = (ins "::mlir::ArrayAttr":$names);
  let assemblyFormat = "`<` $names `>`";
}

def Onnx_DataAttr : Onnx_Attr<"Data", "data"> {
  let summary = "where the bytes of a tensor lie";
  let description = [{
    Little-endian and row-major, `length` bytes from `offset` of `file` on.

    Example:
    ```mlir
    #onnx.data<"model.onnx", 4096, 16384>
    ```
  }];
  let parameters = (ins "::mlir::StringAttr":$file, "uint64_t":$offset, "uint64_t":$length);
  let assemblyFormat = "`<` $file `,` $offset `,` $length `>`";
}

def Onnx_TensorAttr : Onnx_Attr<"Tensor", "tensor"> {
  let summary = "a tensor as the value of an attribute or an initializer";
  let description = [{
    `content` is the elements; a `#onnx.data`; an array of the strings; or, for
    element types of less than a byte, complex and 8-bit floats, their bytes as a
    string.
  }];
  let parameters = (ins "::mlir::StringAttr":$name, "::mlir::RankedTensorType":$type,
                        "::mlir::Attribute":$content);
  let assemblyFormat = "`<` $name `,` $type `,` $content `>`";
}

def Onnx_GraphAttr : Onnx_Attr<"Graph", "graph"> {
  let summary = "an attribute that is region number `region` of its node";
  let parameters = (ins "unsigned":$region, "::mlir::StringAttr":$name,
                        "::mlir::ArrayAttr":$inputs, "::mlir::ArrayAttr":$outputs,
                        "::mlir::ArrayAttr":$outputTypes);
  let assemblyFormat = "`<` $region `,` $name `,` $inputs `,` $outputs `,` $outputTypes `>`";
}

def Onnx_RefAttr : Onnx_Attr<"Ref", "ref"> {
  let summary = "an attribute of the function that a node is part of";
  let parameters = (ins "::mlir::StringAttr":$name, "int32_t":$kind);
  let assemblyFormat = "`<` $name `,` $kind `>`";
}

def Onnx_RawAttr : Onnx_Attr<"Raw", "raw"> {
  let summary = "an attribute that is kept as the bytes of its AttributeProto";
  let parameters = (ins "::mlir::StringAttr":$bytes);
  let assemblyFormat = "`<` $bytes `>`";
}

#endif // CLEAVE_ONNX_TYPES
