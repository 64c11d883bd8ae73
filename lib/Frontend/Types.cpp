//===- Types.cpp - ONNX types to MLIR and back ----------------------------===//

#include "Types.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace cleave;
namespace ir = cleave::onnx;
using ::onnx::TensorProto;

Type cleave::elementTypeOf(int32_t dataType, MLIRContext *context) {
  Builder b(context);
  switch (dataType) {
  case TensorProto::FLOAT: return b.getF32Type();
  case TensorProto::DOUBLE: return b.getF64Type();
  case TensorProto::FLOAT16: return b.getF16Type();
  case TensorProto::BFLOAT16: return b.getBF16Type();
  case TensorProto::BOOL: return b.getI1Type();
  case TensorProto::INT2: return b.getIntegerType(2);
  case TensorProto::INT4: return b.getIntegerType(4);
  case TensorProto::INT8: return b.getIntegerType(8);
  case TensorProto::INT16: return b.getIntegerType(16);
  case TensorProto::INT32: return b.getIntegerType(32);
  case TensorProto::INT64: return b.getIntegerType(64);
  case TensorProto::UINT2: return b.getIntegerType(2, /*isSigned=*/false);
  case TensorProto::UINT4: return b.getIntegerType(4, /*isSigned=*/false);
  case TensorProto::UINT8: return b.getIntegerType(8, /*isSigned=*/false);
  case TensorProto::UINT16: return b.getIntegerType(16, /*isSigned=*/false);
  case TensorProto::UINT32: return b.getIntegerType(32, /*isSigned=*/false);
  case TensorProto::UINT64: return b.getIntegerType(64, /*isSigned=*/false);
  case TensorProto::COMPLEX64: return ComplexType::get(b.getF32Type());
  case TensorProto::COMPLEX128: return ComplexType::get(b.getF64Type());
  case TensorProto::FLOAT8E4M3FN: return Float8E4M3FNType::get(context);
  case TensorProto::FLOAT8E4M3FNUZ: return Float8E4M3FNUZType::get(context);
  case TensorProto::FLOAT8E5M2: return Float8E5M2Type::get(context);
  case TensorProto::FLOAT8E5M2FNUZ: return Float8E5M2FNUZType::get(context);
  case TensorProto::FLOAT8E8M0: return Float8E8M0FNUType::get(context);
  case TensorProto::FLOAT4E2M1: return Float4E2M1FNType::get(context);
  case TensorProto::STRING: return ir::StringType::get(context);
  default: return nullptr;
  }
}

int32_t cleave::dataTypeOf(Type elementType) {
  for (int32_t dataType = 1; dataType < TensorProto::DataType_ARRAYSIZE; ++dataType)
    if (elementTypeOf(dataType, elementType.getContext()) == elementType)
      return dataType;
  return TensorProto::UNDEFINED;
}

std::optional<uint64_t> cleave::storedBytes(Type elementType, uint64_t count) {
  uint64_t bits;
  if (auto complex = dyn_cast<ComplexType>(elementType))
    bits = 2 * complex.getElementType().getIntOrFloatBitWidth();
  else if (elementType.isInteger(1))
    bits = 8;
  else if (elementType.isIntOrFloat())
    bits = elementType.getIntOrFloatBitWidth();
  else
    return std::nullopt;
  if (count > (UINT64_MAX >> 8) / bits)
    return std::nullopt;
  return llvm::divideCeil(count * bits, 8);
}

static Type importDeclaredType(const ::onnx::TypeProto::Tensor &proto, Location loc) {
  MLIRContext *context = loc.getContext();
  Type element = elementTypeOf(proto.elem_type(), context);
  if (!element)
    return emitError(loc, "has an element type that ONNX does not define, got: ")
               << proto.elem_type(),
           nullptr;
  if (!proto.has_shape())
    return UnrankedTensorType::get(element);

  SmallVector<int64_t> shape;
  SmallVector<Attribute> names;
  bool named = false;
  for (const auto &dim : proto.shape().dim()) {
    if (dim.has_dim_value() && dim.dim_value() < -1)
      return emitError(loc, "has a negative dimension, got: ") << dim.dim_value(), nullptr;
    // Some exporters write -1 for a size that is not known.
    bool known = dim.has_dim_value() && dim.dim_value() != -1;
    shape.push_back(known ? dim.dim_value() : ShapedType::kDynamic);
    names.push_back(StringAttr::get(context, dim.dim_param()));
    named |= !dim.dim_param().empty();
  }
  Attribute encoding =
      named ? ir::DimsAttr::get(context, ArrayAttr::get(context, names)) : Attribute();
  return RankedTensorType::get(shape, element, encoding);
}

Type cleave::importType(const ::onnx::TypeProto &proto, Location loc) {
  MLIRContext *context = loc.getContext();
  switch (proto.value_case()) {
  case ::onnx::TypeProto::VALUE_NOT_SET: return ir::ValueType::get(context);
  case ::onnx::TypeProto::kTensorType: return importDeclaredType(proto.tensor_type(), loc);
  case ::onnx::TypeProto::kSequenceType: {
    Type element = importType(proto.sequence_type().elem_type(), loc);
    return element ? ir::SequenceType::get(context, element) : Type();
  }
  case ::onnx::TypeProto::kOptionalType: {
    Type element = importType(proto.optional_type().elem_type(), loc);
    return element ? ir::OptionalType::get(context, element) : Type();
  }
  default:
    emitError(loc, "is a map, a sparse tensor or opaque, which is not supported");
    return nullptr;
  }
}

void cleave::exportType(Type type, ::onnx::TypeProto &proto) {
  llvm::TypeSwitch<Type>(type)
      .Case([&](TensorType tensor) {
        ::onnx::TypeProto::Tensor *into = proto.mutable_tensor_type();
        into->set_elem_type(dataTypeOf(tensor.getElementType()));
        auto ranked = dyn_cast<RankedTensorType>(tensor);
        if (!ranked)
          return;
        auto dims = dyn_cast_or_null<ir::DimsAttr>(ranked.getEncoding());
        into->mutable_shape();
        for (auto [i, size] : llvm::enumerate(ranked.getShape())) {
          auto *dim = into->mutable_shape()->add_dim();
          StringRef name = dims ? cast<StringAttr>(dims.getNames()[i]).getValue() : "";
          if (!ShapedType::isDynamic(size))
            dim->set_dim_value(size);
          else if (!name.empty())
            dim->set_dim_param(name.str());
        }
      })
      .Case([&](ir::SequenceType sequence) {
        exportType(sequence.getElement(), *proto.mutable_sequence_type()->mutable_elem_type());
      })
      .Case([&](ir::OptionalType optional) {
        exportType(optional.getElement(), *proto.mutable_optional_type()->mutable_elem_type());
      });
}
