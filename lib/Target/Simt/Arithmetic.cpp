//===- Arithmetic.cpp - NVVM's arithmetic in LLVM's words -----------------===//
//
// A name is an operation with its properties: fma.rn.ftz.f. What rounds to nearest is
// an instruction of LLVM; what is approximate on a GPU is computed exactly and rounded
// once.
//
//===----------------------------------------------------------------------===//

#include "Retarget.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/Intrinsics.h"

using namespace llvm;
using namespace cleave::simt;

namespace {

class Arithmetic {
public:
  Arithmetic(Target &target, CallInst &call, StringRef name, Type *type)
      : target(target), builder(&call), type(type) {
    SmallVector<StringRef> parts;
    name.split(parts, '.');
    operation = parts.front();
    for (StringRef part : drop_begin(parts))
      if (part == "ftz")
        flushes = true;
      else if (part == "rn" || part == "rz" || part == "rm" || part == "rp")
        rounding = part;
      else
        properties.push_back(part);
  }

  Value *lower(ArrayRef<Value *> values) {
    for (Value *argument : values)
      arguments.push_back(flushes ? flush(argument) : argument);
    Value *value = compute();
    return value && flushes ? flush(value) : value;
  }

private:
  bool has(StringRef property) const { return is_contained(properties, property); }
  Value *number(Type *type, double value) { return ConstantFP::get(type, value); }
  Value *unary(Intrinsic::ID id) { return builder.CreateUnaryIntrinsic(id, arguments[0]); }

  /// Makes subnormal numbers of f32 zeros of their sign.
  Value *flush(Value *value) {
    Type *type = value->getType();
    if (!type->isFloatTy())
      return value;
    Value *size = builder.CreateUnaryIntrinsic(Intrinsic::fabs, value);
    Value *small = builder.CreateFCmpOLT(size, number(type, 0x1p-126));
    Value *zero = builder.CreateCopySign(number(type, 0), value);
    return builder.CreateSelect(small, zero, value);
  }

  Value *compute() {
    if (Value *value = convert())
      return value;
    if (Value *value = integers())
      return value;
    return rounding.empty() || rounding == "rn" ? reals() : directed();
  }

  Value *directed() {
    unsigned function = StringSwitch<unsigned>(operation)
                            .Case("add", CLEAVE_SIMT_SUM)
                            .Case("mul", CLEAVE_SIMT_PRODUCT)
                            .Case("fma", CLEAVE_SIMT_FMA)
                            .Cases({"div", "rcp"}, CLEAVE_SIMT_QUOTIENT)
                            .Case("sqrt", CLEAVE_SIMT_ROOT)
                            .Default(~0u);
    if (function == ~0u || !(type->isFloatTy() || type->isDoubleTy()) || has("sat"))
      return nullptr;
    Type *wide = builder.getDoubleTy();
    SmallVector<Value *> values = {builder.getInt32(function), builder.getInt32(rounding[1]),
                                   builder.getInt32(type->isFloatTy())};
    if (operation == "rcp")
      values.push_back(number(wide, 1));
    for (Value *argument : arguments)
      values.push_back(builder.CreateFPExt(argument, wide));
    values.resize(6, number(wide, 0));
    return builder.CreateFPTrunc(target.call(builder, CLEAVE_SIMT_directed, wide, values), type);
  }

  /// Calls a function of f32, on any type that is no wider.
  Value *library(cleave_simt_function function) {
    Type *single = builder.getFloatTy();
    if (!type->isFloatTy() && !type->isHalfTy() && !type->isBFloatTy())
      return nullptr;
    Value *value = builder.CreateFPExt(arguments[0], single);
    return builder.CreateFPTrunc(target.call(builder, function, single, {value}), type);
  }

  Value *reals() {
    if (operation == "fabs")
      return unary(Intrinsic::fabs);
    if (operation == "neg")
      return builder.CreateFNeg(arguments[0]);
    if (operation == "floor" || operation == "ceil" || operation == "trunc")
      return unary(operation == "floor"  ? Intrinsic::floor
                   : operation == "ceil" ? Intrinsic::ceil
                                         : Intrinsic::trunc);
    if (operation == "round")
      return unary(Intrinsic::roundeven);
    if (operation == "sqrt")
      return unary(Intrinsic::sqrt);
    if (operation == "rsqrt")
      return builder.CreateFDiv(number(type, 1), unary(Intrinsic::sqrt));
    if (operation == "rcp")
      return builder.CreateFDiv(number(type, 1), arguments[0]);
    if (operation == "div")
      return builder.CreateFDiv(arguments[0], arguments[1]);
    if (operation == "add")
      return saturated(builder.CreateFAdd(arguments[0], arguments[1]));
    if (operation == "mul")
      return builder.CreateFMul(arguments[0], arguments[1]);
    if (operation == "fma") {
      Value *sum = builder.CreateIntrinsic(Intrinsic::fma, {type}, arguments);
      return has("relu") ? builder.CreateMaxNum(sum, number(type, 0)) : saturated(sum);
    }
    if (operation == "saturate")
      return saturate(arguments[0]);
    if (operation == "fmin" || operation == "fmax")
      return extremum(operation == "fmax");
    if (operation == "ex2")
      return library(CLEAVE_SIMT_exp2);
    if (operation == "lg2")
      return library(CLEAVE_SIMT_log2);
    if (operation == "sin" || operation == "cos")
      return library(operation == "sin" ? CLEAVE_SIMT_sin : CLEAVE_SIMT_cos);
    return operation == "tanh" ? library(CLEAVE_SIMT_tanh) : nullptr;
  }

  Value *saturate(Value *value) {
    // NaN becomes zero, as maxnum prefers numbers.
    Value *above = builder.CreateMaxNum(value, number(value->getType(), 0));
    return builder.CreateMinNum(above, number(value->getType(), 1));
  }
  Value *saturated(Value *value) { return has("sat") ? saturate(value) : value; }

  Value *extremum(bool largest) {
    if (has("xorsign"))
      return nullptr;
    if (has("nan"))
      return builder.CreateBinaryIntrinsic(largest ? Intrinsic::maximum : Intrinsic::minimum,
                                           arguments[0], arguments[1]);
    return builder.CreateBinaryIntrinsic(largest ? Intrinsic::maximumnum : Intrinsic::minimumnum,
                                         arguments[0], arguments[1]);
  }

  Value *integers() {
    if (operation == "mulhi") {
      unsigned width = type->getIntegerBitWidth();
      bool isUnsigned = properties[0].starts_with("u");
      Type *twice = builder.getIntNTy(2 * width);
      auto extend = [&](Value *v) {
        return isUnsigned ? builder.CreateZExt(v, twice) : builder.CreateSExt(v, twice);
      };
      Value *product = builder.CreateMul(extend(arguments[0]), extend(arguments[1]));
      return builder.CreateTrunc(builder.CreateLShr(product, width), type);
    }
    if (operation == "sad") {
      bool isUnsigned = properties[0].starts_with("u");
      Value *less = isUnsigned ? builder.CreateICmpULT(arguments[0], arguments[1])
                               : builder.CreateICmpSLT(arguments[0], arguments[1]);
      Value *one = builder.CreateSub(arguments[0], arguments[1]);
      return builder.CreateAdd(builder.CreateSelect(less, builder.CreateNeg(one), one),
                               arguments[2]);
    }
    if (operation == "prmt" && properties.empty())
      return target.call(builder, CLEAVE_SIMT_permute, type, arguments);
    if (operation == "fshl" || operation == "fshr") {
      Value *most = ConstantInt::get(type, type->getIntegerBitWidth());
      Value *by = builder.CreateBinaryIntrinsic(Intrinsic::umin, arguments[2], most);
      Value *all = builder.CreateICmpEQ(by, most);
      bool left = operation == "fshl";
      Value *shifted = builder.CreateIntrinsic(left ? Intrinsic::fshl : Intrinsic::fshr, {type},
                                               {arguments[0], arguments[1], by});
      return builder.CreateSelect(all, arguments[left ? 1 : 0], shifted);
    }
    if (operation == "lohi") {
      Value *low = builder.CreateZExt(arguments[0], builder.getInt64Ty());
      Value *high = builder.CreateZExt(arguments[1], builder.getInt64Ty());
      return builder.CreateBitCast(builder.CreateOr(low, builder.CreateShl(high, 32)), type);
    }
    return nullptr;
  }

  /// f2i.rz, ui2f.rn, d2i.hi, ff2f16x2.rn, f2tf32.rna …
  Value *convert() {
    if (operation.starts_with("ff2"))
      return pack();
    auto [from, to] = operation.split('2');
    if (to.empty())
      return nullptr;
    Value *value = arguments[0];
    if (operation == "d2i" && (has("lo") || has("hi"))) {
      Value *bits = builder.CreateBitCast(value, builder.getInt64Ty());
      return builder.CreateTrunc(has("hi") ? builder.CreateLShr(bits, 32) : bits, type);
    }
    if (to == "tf32")
      return tf32();
    bool nearest = rounding == "rn", narrow = to == "bf16" || to == "f16" || to == "h";
    if (narrow) {
      if (!nearest || !properties.empty())
        return nullptr;
      Type *half = to == "bf16" ? builder.getBFloatTy() : builder.getHalfTy();
      return builder.CreateBitCast(builder.CreateFPTrunc(value, half), type);
    }
    if (type->isFloatingPointTy()) {
      if (!nearest)
        return nullptr;
      if (value->getType()->isFloatingPointTy())
        return builder.CreateFPTrunc(value, type);
      return from.starts_with("u") ? builder.CreateUIToFP(value, type)
                                   : builder.CreateSIToFP(value, type);
    }
    return toInteger(value, to.starts_with("u"));
  }

  Value *toInteger(Value *value, bool isUnsigned) {
    Intrinsic::ID round = rounding == "rn"   ? Intrinsic::roundeven
                          : rounding == "rm" ? Intrinsic::floor
                          : rounding == "rp" ? Intrinsic::ceil
                                             : Intrinsic::trunc;
    value = builder.CreateUnaryIntrinsic(round, value);
    return builder.CreateIntrinsic(isUnsigned ? Intrinsic::fptoui_sat : Intrinsic::fptosi_sat,
                                   {type, value->getType()}, {value});
  }

  /// ff2bf16x2.rn (high, low)
  Value *pack() {
    if (rounding != "rn" || has("satfinite"))
      return nullptr;
    Type *pair = type->getWithNewType(arguments[0]->getType());
    Value *wide = PoisonValue::get(pair);
    for (unsigned i : {0u, 1u}) {
      Value *value = arguments[1 - i];
      if (has("relu"))
        value = builder.CreateMaxNum(value, number(value->getType(), 0));
      wide = builder.CreateInsertElement(wide, value, i);
    }
    return builder.CreateFPTrunc(wide, type);
  }

  /// Halves are rounded away from zero (rna) or to even (rn), and the low bits dropped.
  Value *tf32() {
    if (!properties.empty() && properties != ArrayRef<StringRef>{"rna"})
      return nullptr;
    Value *bits = builder.CreateBitCast(arguments[0], builder.getInt32Ty());
    Value *add = builder.getInt32(0x1000);
    if (rounding == "rn")
      add = builder.CreateAdd(builder.getInt32(0xfff),
                              builder.CreateAnd(builder.CreateLShr(bits, 13), 1));
    else if (rounding == "rz")
      add = builder.getInt32(0);
    Value *special =
        builder.CreateICmpUGE(builder.CreateAnd(bits, 0x7fffffff), builder.getInt32(0x7f800000));
    Value *rounded = builder.CreateAnd(builder.CreateAdd(bits, add), 0xffffe000);
    return builder.CreateSelect(special, bits, rounded);
  }

  Target &target;
  IRBuilder<> builder;
  Type *type; ///< of the result
  StringRef operation, rounding;
  SmallVector<StringRef> properties;
  SmallVector<Value *> arguments;
  bool flushes = false;
};

} // namespace

Value *cleave::simt::lowerArithmetic(Target &target, CallInst &call, StringRef name,
                                     ArrayRef<Value *> arguments) {
  if (arguments.empty())
    return nullptr;
  // Of assembly with several results, one: what it works on.
  Type *type = isa<StructType>(call.getType()) ? arguments[0]->getType() : call.getType();
  return Arithmetic(target, call, name, type).lower(arguments);
}
