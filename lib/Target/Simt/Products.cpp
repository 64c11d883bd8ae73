//===- Products.cpp - products of four warps, and who uses their sums -----===//
//
// Sums of such a product are in registers that it fills until somebody waits. Here they
// are values, so beside each of them runs a number that says which product it is of; where
// something else than another product uses it, the simulator is asked whether that was
// waited for.
//
//===----------------------------------------------------------------------===//

#include "Retarget.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Analysis/ValueTracking.h"
#include "llvm/IR/InlineAsm.h"

using namespace llvm;
using namespace cleave::simt;

/// wgmma.mma_async.sync.aligned.m64nNkK.TYPE.TYPE.TYPE
static bool parseShape(StringRef name, uint32_t &columns, unsigned &type) {
  uint32_t depth;
  if (!name.consume_front("wgmma.mma_async.sync.aligned.m64n") ||
      name.consumeInteger(10, columns) || !name.consume_front("k") ||
      name.consumeInteger(10, depth) || columns % 8 || columns > 256)
    return false;
  type = StringSwitch<unsigned>(name)
             .Case(".f32.f16.f16", CLEAVE_SIMT_F16)
             .Case(".f32.bf16.bf16", CLEAVE_SIMT_BF16)
             .Case(".f32.tf32.tf32", CLEAVE_SIMT_TF32)
             .Case(".f32.e4m3.e4m3", CLEAVE_SIMT_E4M3)
             .Case(".f32.e5m2.e5m2", CLEAVE_SIMT_E5M2)
             .Case(".f32.e4m3.e5m2", CLEAVE_SIMT_E4M3_E5M2)
             .Case(".f32.e5m2.e4m3", CLEAVE_SIMT_E5M2_E4M3)
             .Case(".s32.s8.s8", CLEAVE_SIMT_S8)
             .Case(".s32.u8.u8", CLEAVE_SIMT_U8)
             .Case(".s32.s8.u8", CLEAVE_SIMT_S8_U8)
             .Case(".s32.u8.s8", CLEAVE_SIMT_U8_S8)
             .Default(~0u);
  uint32_t wanted = type == CLEAVE_SIMT_TF32                              ? 8
                    : type == CLEAVE_SIMT_F16 || type == CLEAVE_SIMT_BF16 ? 16
                                                                          : 32;
  return type != ~0u && depth == wanted;
}

/// What the numbers behind the operands say: signs, then layouts.
static std::optional<uint32_t> parseFlags(ArrayRef<Value *> immediates, bool hasLeft) {
  static const uint32_t all[] = {CLEAVE_SIMT_NEGATES_LEFT, CLEAVE_SIMT_NEGATES_RIGHT,
                                 CLEAVE_SIMT_LEFT_BY_COLUMNS, CLEAVE_SIMT_RIGHT_BY_ROWS};
  uint32_t flags = 0;
  for (auto [i, value] : enumerate(immediates)) {
    auto *number = dyn_cast_or_null<ConstantInt>(value);
    // The layout of what is in registers is not said.
    size_t which = i == 2 && hasLeft ? 3 : i;
    if (!number || which > 3)
      return std::nullopt;
    if (which < 2 ? number->isMinusOne() : number->isOne())
      flags |= all[which];
  }
  return flags;
}

bool cleave::simt::lowerProduct(Target &target, CallInst &call, StringRef name,
                                const Product &product, MutableArrayRef<Value *> results) {
  uint32_t columns;
  unsigned type;
  std::optional<uint32_t> flags = parseFlags(product.immediates, !product.left.empty());
  if (!parseShape(name, columns, type) || !flags || results.size() != columns / 2 ||
      product.sums.size() != results.size() || !product.right)
    return false;
  bool isHalf = type == CLEAVE_SIMT_F16 || type == CLEAVE_SIMT_BF16;
  if (!isHalf && *flags & (CLEAVE_SIMT_LEFT_BY_COLUMNS | CLEAVE_SIMT_RIGHT_BY_ROWS))
    return false;
  IRBuilder<> builder(&call);
  auto roomFor = [&](ArrayRef<Value *> values, SmallVectorImpl<StoreInst *> *stores) {
    auto *array = ArrayType::get(builder.getInt32Ty(), values.size());
    Value *room = Target::room(builder, array);
    for (auto [i, value] : enumerate(values)) {
      StoreInst *store = builder.CreateStore(
          value, builder.CreateConstInBoundsGEP2_32(array, room, 0, unsigned(i)));
      if (stores)
        stores->push_back(store);
    }
    return room;
  };
  Target::GroupProduct made;
  Value *sums = roomFor(product.sums, &made.sums);
  Value *left = product.left.empty() ? ConstantPointerNull::get(builder.getPtrTy())
                                     : roomFor(product.left, nullptr);
  Value *none = builder.getInt64(0);
  Target::Access access{16, 16, CLEAVE_SIMT_GENERIC, true};
  Value *adds = product.adds ? builder.CreateZExt(product.adds, builder.getInt32Ty())
                             : builder.getInt32(CLEAVE_SIMT_ADDS);
  made.call = target.call(builder, CLEAVE_SIMT_group_multiply, builder.getInt32Ty(),
                          {sums, left, product.leftDescriptor ? product.leftDescriptor : none,
                           product.right, builder.getInt32(columns), builder.getInt32(type),
                           builder.CreateOr(adds, builder.getInt32(*flags)),
                           target.site(call, name, access)});
  auto *array = ArrayType::get(builder.getInt32Ty(), results.size());
  for (auto [i, result] : enumerate(results)) {
    auto *load =
        builder.CreateLoad(product.sums[i]->getType(),
                           builder.CreateConstInBoundsGEP2_32(array, sums, 0, unsigned(i)));
    made.results.push_back(load);
    result = load;
  }
  target.products.push_back(std::move(made));
  return true;
}

namespace {

/// The numbers of products beside their sums.
class Sums {
public:
  explicit Sums(Target &target)
      : target(target), word(Type::getInt32Ty(target.context)), none(ConstantInt::get(word, 0)) {
    for (Target::GroupProduct &product : target.products) {
      for (LoadInst *result : product.results)
        numbers[result] = product.call;
      stores.insert(product.sums.begin(), product.sums.end());
    }
  }

  void track() {
    // Where sums are only those of others, they follow without a fence.
    for (Target::GroupProduct &product : target.products) {
      IRBuilder<> builder(product.call);
      SmallSetVector<Value *, 4> before;
      for (StoreInst *store : product.sums)
        before.insert(numberOf(store->getValueOperand()));
      Value *follows = builder.getTrue();
      for (Value *number : before)
        follows = builder.CreateAnd(follows, builder.CreateICmpNE(number, none));
      Value *flag = builder.CreateSelect(follows, builder.getInt32(CLEAVE_SIMT_FOLLOWS), none);
      constexpr unsigned flags = 6;
      product.call->setArgOperand(flags,
                                  builder.CreateOr(product.call->getArgOperand(flags), flag));
    }
    for (Target::GroupProduct &product : target.products)
      for (LoadInst *result : product.results)
        visitUses(result);
    for (auto [place, user] : firstUsers) {
      IRBuilder<> builder(user);
      target.call(builder, CLEAVE_SIMT_group_use, builder.getVoidTy(),
                  {place.second, target.site(*user, user->getOpcodeName())});
    }
  }

private:
  /// Instructions that are registers under another name.
  static bool passesOn(const Value *value) {
    return isa<PHINode, ExtractValueInst, InsertValueInst, SelectInst, FreezeInst, BitCastInst>(
        value);
  }

  Value *numberOf(Value *value) {
    if (Value *known = numbers.lookup(value))
      return known;
    Value *number = none;
    if (auto *phi = dyn_cast<PHINode>(value)) {
      IRBuilder<> builder(phi);
      PHINode *beside = builder.CreatePHI(word, phi->getNumIncomingValues());
      numbers[value] = beside;
      for (auto [incoming, block] : zip_equal(phi->incoming_values(), phi->blocks()))
        beside->addIncoming(numberOf(incoming), block);
      return numbers[value] = unify(beside);
    }
    if (auto *extract = dyn_cast<ExtractValueInst>(value)) {
      Value *inserted = FindInsertedValue(extract->getAggregateOperand(), extract->getIndices());
      number = numberOf(inserted && inserted != value ? inserted : extract->getAggregateOperand());
    } else if (auto *insert = dyn_cast<InsertValueInst>(value)) {
      number = later(*insert, insert->getAggregateOperand(), insert->getInsertedValueOperand());
    } else if (auto *select = dyn_cast<SelectInst>(value)) {
      number = later(*select, select->getTrueValue(), select->getFalseValue());
    } else if (isa<FreezeInst, BitCastInst>(value)) {
      number = numberOf(cast<Instruction>(value)->getOperand(0));
    }
    return numbers[value] = number;
  }

  Value *later(Instruction &at, Value *a, Value *b) {
    Value *first = numberOf(a), *second = numberOf(b);
    if (first == second || second == none)
      return first;
    if (first == none)
      return second;
    return IRBuilder<>(&at).CreateBinaryIntrinsic(Intrinsic::umax, first, second);
  }

  /// One number for all sums that go the same ways; nothing where they are of no product.
  Value *unify(PHINode *phi) {
    for (PHINode &other : phi->getParent()->phis())
      if (&other != phi && other.isIdenticalTo(phi)) {
        phi->replaceAllUsesWith(&other);
        for (auto &[value, number] : numbers)
          if (number == phi)
            number = &other;
        phi->eraseFromParent();
        return &other;
      }
    return phi;
  }

  void visitUses(Value *value) {
    if (!visited.insert(value).second)
      return;
    Value *number = numberOf(value);
    for (User *user : value->users()) {
      auto *instruction = cast<Instruction>(user);
      if (passesOn(instruction)) {
        visitUses(instruction);
        continue;
      }
      if (auto *store = dyn_cast<StoreInst>(instruction); store && stores.contains(store))
        continue;
      Instruction *&first = firstUsers[{instruction->getParent(), number}];
      if (!first || instruction->comesBefore(first))
        first = instruction;
    }
  }

  Target &target;
  IntegerType *word;
  Constant *none;
  DenseMap<Value *, Value *> numbers;
  SmallPtrSet<StoreInst *, 32> stores;
  SmallPtrSet<Value *, 32> visited;
  MapVector<std::pair<BasicBlock *, Value *>, Instruction *> firstUsers;
};

} // namespace

void cleave::simt::trackSums(Target &target) { Sums(target).track(); }
