//===- Host.cpp - arithmetic without libraries ----------------------------===//
//
// The host's code generator calls libraries for some of what a GPU has instructions
// for, and an image may lack no symbol. bf16 is the largest part: nothing on most hosts
// rounds to it, so its arithmetic is that of f32, rounded by integers.
//
//===----------------------------------------------------------------------===//

#include "Retarget.h"

#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"

using namespace llvm;
using namespace cleave::simt;

static bool isBrain(Type *type) { return type->getScalarType()->isBFloatTy(); }

/// The f32 `value` rounded to even, as bf16.
static Value *roundToBrain(IRBuilderBase &builder, Value *value, Type *brain) {
  Type *word = value->getType()->getWithNewType(builder.getInt32Ty());
  auto constant = [&](uint32_t bits) { return ConstantInt::get(word, bits); };
  Value *bits = builder.CreateBitCast(value, word);
  Value *odd = builder.CreateAnd(builder.CreateLShr(bits, constant(16)), constant(1));
  Value *rounded = builder.CreateAdd(bits, builder.CreateAdd(odd, constant(0x7fff)));
  Value *isNan = builder.CreateFCmpUNO(value, value);
  Value *quiet = builder.CreateOr(bits, constant(0x400000));
  Value *high = builder.CreateLShr(builder.CreateSelect(isNan, quiet, rounded), constant(16));
  Type *half = word->getWithNewBitWidth(16);
  return builder.CreateBitCast(builder.CreateTrunc(high, half), brain);
}

static Value *toBrain(IRBuilderBase &builder, Value *value, Type *brain) {
  Type *single = brain->getWithNewType(builder.getFloatTy());
  return roundToBrain(builder, builder.CreateFPCast(value, single), brain);
}

/// Values of bf16 that come from several blocks, as their bits: code generators carry them
/// from block to block in f32.
static Value *lowerBrainPhi(Instruction &instruction) {
  auto *phi = dyn_cast<PHINode>(&instruction);
  if (!phi || !isBrain(phi->getType()))
    return nullptr;
  IRBuilder<> builder(phi);
  Type *bits = phi->getType()->getWithNewType(builder.getInt16Ty());
  PHINode *made = builder.CreatePHI(bits, phi->getNumIncomingValues());
  for (auto [value, block] : zip_equal(phi->incoming_values(), phi->blocks()))
    made->addIncoming(IRBuilder<>(block->getTerminator()).CreateBitCast(value, bits), block);
  builder.SetInsertPoint(phi->getParent()->getFirstInsertionPt());
  return builder.CreateBitCast(made, phi->getType());
}

/// Arithmetic on bf16 in f32; null for what moves or compares it only.
static Value *lowerBrain(Instruction &instruction) {
  IRBuilder<> builder(&instruction);
  Type *type = instruction.getType();
  if (!isBrain(type))
    return nullptr;
  Type *single = type->getWithNewType(builder.getFloatTy());
  auto wide = [&](unsigned i) { return builder.CreateFPExt(instruction.getOperand(i), single); };
  if (isa<FPTruncInst, SIToFPInst, UIToFPInst>(instruction)) {
    Value *value = instruction.getOperand(0);
    if (isa<SIToFPInst>(instruction))
      value = builder.CreateSIToFP(value, single);
    else if (isa<UIToFPInst>(instruction))
      value = builder.CreateUIToFP(value, single);
    return toBrain(builder, value, type);
  }
  if (auto *binary = dyn_cast<BinaryOperator>(&instruction))
    return toBrain(builder, builder.CreateBinOp(binary->getOpcode(), wide(0), wide(1)), type);
  auto *call = dyn_cast<IntrinsicInst>(&instruction);
  if (!call || call->getIntrinsicID() == Intrinsic::fabs ||
      call->getIntrinsicID() == Intrinsic::copysign)
    return nullptr;
  SmallVector<Value *> arguments;
  for (unsigned i = 0; i < call->arg_size(); ++i)
    arguments.push_back(isBrain(call->getArgOperand(i)->getType()) ? wide(i)
                                                                   : call->getArgOperand(i));
  return toBrain(builder, builder.CreateIntrinsic(call->getIntrinsicID(), {single}, arguments),
                 type);
}

/// The value of `each` for every element of a vector, or for the scalar itself.
static Value *byElement(IRBuilderBase &builder, ArrayRef<Value *> operands, Type *scalar,
                        function_ref<Value *(ArrayRef<Value *>)> each) {
  auto *vector = dyn_cast<FixedVectorType>(operands[0]->getType());
  if (!vector)
    return each(operands);
  Value *result = PoisonValue::get(vector->getWithNewType(scalar));
  for (unsigned i = 0; i < vector->getNumElements(); ++i) {
    SmallVector<Value *> elements;
    for (Value *operand : operands)
      elements.push_back(builder.CreateExtractElement(operand, i));
    result = builder.CreateInsertElement(result, each(elements), i);
  }
  return result;
}

static std::optional<cleave_simt_function> functionOf(const Instruction &instruction) {
  const auto *call = dyn_cast<IntrinsicInst>(&instruction);
  switch (call ? call->getIntrinsicID() : Intrinsic::not_intrinsic) {
  case Intrinsic::exp2: return CLEAVE_SIMT_exp2;
  case Intrinsic::log2: return CLEAVE_SIMT_log2;
  case Intrinsic::sin: return CLEAVE_SIMT_sin;
  case Intrinsic::cos: return CLEAVE_SIMT_cos;
  case Intrinsic::tanh: return CLEAVE_SIMT_tanh;
  default:
    if (instruction.getOpcode() == Instruction::FRem)
      return CLEAVE_SIMT_remainder;
    return std::nullopt;
  }
}

static Value *lowerLibrary(Target &target, Instruction &instruction) {
  std::optional<cleave_simt_function> function = functionOf(instruction);
  Type *scalar = instruction.getType()->getScalarType();
  IRBuilder<> builder(&instruction);
  Type *used = builder.getFloatTy();
  if (!function)
    return nullptr;
  if (scalar->isDoubleTy()) {
    if (function != CLEAVE_SIMT_remainder)
      return nullptr;
    function = CLEAVE_SIMT_remainder_double;
    used = scalar;
  }
  SmallVector<Value *> operands(instruction.operand_values());
  operands.resize(instruction.getOpcode() == Instruction::FRem ? 2 : 1);
  return byElement(builder, operands, scalar, [&](ArrayRef<Value *> elements) {
    SmallVector<Value *> arguments;
    for (Value *element : elements)
      arguments.push_back(builder.CreateFPCast(element, used));
    return builder.CreateFPCast(target.call(builder, *function, used, arguments), scalar);
  });
}

/// Halves away from zero; the host has only halves to even.
static Value *lowerRound(Instruction &instruction) {
  auto *call = dyn_cast<IntrinsicInst>(&instruction);
  if (!call || call->getIntrinsicID() != Intrinsic::round)
    return nullptr;
  IRBuilder<> builder(call);
  Value *value = call->getArgOperand(0);
  Type *type = value->getType();
  // The largest number below a half, so that what is just below one is not rounded up.
  APFloat half(0.5);
  bool lost;
  half.convert(type->getScalarType()->getFltSemantics(), APFloat::rmNearestTiesToEven, &lost);
  half.next(/*nextDown=*/true);
  Value *signedHalf = builder.CreateCopySign(ConstantFP::get(type, half), value);
  return builder.CreateUnaryIntrinsic(Intrinsic::trunc, builder.CreateFAdd(value, signedHalf));
}

/// f64 becomes f16 in one rounding.
static Value *lowerNarrow(Target &target, Instruction &instruction) {
  auto *narrow = dyn_cast<FPTruncInst>(&instruction);
  if (!narrow || !narrow->getSrcTy()->getScalarType()->isDoubleTy() ||
      !narrow->getDestTy()->getScalarType()->isHalfTy())
    return nullptr;
  IRBuilder<> builder(narrow);
  Type *half = builder.getHalfTy();
  return byElement(builder, {narrow->getOperand(0)}, half, [&](ArrayRef<Value *> elements) {
    Value *bits = target.call(builder, CLEAVE_SIMT_to_half, builder.getInt32Ty(), elements);
    return builder.CreateBitCast(builder.CreateTrunc(bits, builder.getInt16Ty()), half);
  });
}

static void replaceEach(Target &target, function_ref<Value *(Instruction &)> lower) {
  for (Function &function : target.module)
    for (Instruction &instruction : make_early_inc_range(instructions(function)))
      if (Value *value = lower(instruction)) {
        instruction.replaceAllUsesWith(value);
        instruction.eraseFromParent();
      }
}

void cleave::simt::lowerForHost(Target &target) {
  replaceEach(target, [&](Instruction &one) { return lowerLibrary(target, one); });
  replaceEach(target, [&](Instruction &one) { return lowerNarrow(target, one); });
  replaceEach(target, lowerRound);
  replaceEach(target, lowerBrain);
  replaceEach(target, lowerBrainPhi);
}
