//===- Accesses.cpp - a check before each access to memory ----------------===//

#include "Retarget.h"

#include "llvm/Analysis/ValueTracking.h"
#include "llvm/IR/InstIterator.h"

using namespace llvm;
using namespace cleave::simt;

/// Is it the thread's own, the image's, or a part of a constant that is there?
static bool needsNoCheck(const Target &target, Value *pointer, uint64_t bytes) {
  const DataLayout &layout = target.module.getDataLayout();
  if (pointer->getType()->getPointerAddressSpace() == CLEAVE_SIMT_LOCAL ||
      isa<AllocaInst>(getUnderlyingObject(pointer)))
    return true;
  APInt offset(layout.getIndexTypeSizeInBits(pointer->getType()), 0);
  auto *global = dyn_cast<GlobalVariable>(
      pointer->stripAndAccumulateConstantOffsets(layout, offset, /*AllowNonInbounds=*/true));
  if (global && is_contained({target.functions, target.shared, target.dynamicShared}, global))
    return true;
  return global && global->isConstant() && !offset.isNegative() &&
         offset.getZExtValue() + bytes <= layout.getTypeAllocSize(global->getValueType());
}

namespace {
struct Found {
  Instruction *instruction;
  Value *pointer;
  Type *type;
  Align align;
  cleave_simt_function function;
  std::string what;
};
} // namespace

static std::optional<Found> accessOf(Instruction &instruction) {
  if (auto *load = dyn_cast<LoadInst>(&instruction)) {
    bool strong = load->isAtomic() || load->isVolatile();
    return Found{load,
                 load->getPointerOperand(),
                 load->getType(),
                 load->getAlign(),
                 strong ? CLEAVE_SIMT_atomic_load : CLEAVE_SIMT_load,
                 "load"};
  }
  if (auto *store = dyn_cast<StoreInst>(&instruction)) {
    bool strong = store->isAtomic() || store->isVolatile();
    return Found{store,
                 store->getPointerOperand(),
                 store->getValueOperand()->getType(),
                 store->getAlign(),
                 strong ? CLEAVE_SIMT_atomic : CLEAVE_SIMT_store,
                 "store"};
  }
  if (auto *atomic = dyn_cast<AtomicRMWInst>(&instruction))
    return Found{atomic,
                 atomic->getPointerOperand(),
                 atomic->getType(),
                 atomic->getAlign(),
                 CLEAVE_SIMT_atomic,
                 ("atomic " + AtomicRMWInst::getOperationName(atomic->getOperation())).str()};
  if (auto *exchange = dyn_cast<AtomicCmpXchgInst>(&instruction))
    return Found{exchange,
                 exchange->getPointerOperand(),
                 exchange->getCompareOperand()->getType(),
                 exchange->getAlign(),
                 CLEAVE_SIMT_atomic,
                 "atomic compare and exchange"};
  return std::nullopt;
}

static AtomicOrdering orderingOf(const Instruction &instruction) {
  if (auto *store = dyn_cast<StoreInst>(&instruction))
    return store->getOrdering();
  if (auto *atomic = dyn_cast<AtomicRMWInst>(&instruction))
    return atomic->getOrdering();
  if (auto *exchange = dyn_cast<AtomicCmpXchgInst>(&instruction))
    return exchange->getSuccessOrdering();
  return AtomicOrdering::NotAtomic;
}

Error cleave::simt::checkAccesses(Target &target) {
  const DataLayout &layout = target.module.getDataLayout();
  std::vector<Found> accesses;
  std::vector<FenceInst *> fences;
  for (Function &function : target.module)
    for (Instruction &instruction : instructions(function)) {
      if (auto *fence = dyn_cast<FenceInst>(&instruction))
        fences.push_back(fence);
      std::optional<Found> access = accessOf(instruction);
      if (access && !needsNoCheck(target, access->pointer, layout.getTypeStoreSize(access->type)))
        accesses.push_back(*access);
    }
  for (const Found &access : accesses) {
    IRBuilder<> builder(access.instruction);
    if (isReleaseOrStronger(orderingOf(*access.instruction)))
      target.call(
          builder, CLEAVE_SIMT_fence, builder.getVoidTy(),
          {builder.getInt32(CLEAVE_SIMT_DEVICE), target.site(*access.instruction, "fence")});
    unsigned space = access.pointer->getType()->getPointerAddressSpace();
    if (space > CLEAVE_SIMT_LOCAL || space == 2)
      return unknown(*access.instruction, "memory of address space " + Twine(space));
    Constant *site =
        target.site(*access.instruction, access.what,
                    {layout.getTypeStoreSize(access.type), access.align.value(), space, false});
    target.call(builder, access.function, builder.getVoidTy(),
                {builder.CreateAddrSpaceCast(access.pointer, builder.getPtrTy()), site});
  }
  for (FenceInst *fence : fences) {
    IRBuilder<> builder(fence);
    StringRef scope = fence->getContext().getSyncScopeName(fence->getSyncScopeID()).value_or("");
    bool block = scope == "block" || scope == "singlethread";
    target.call(builder, CLEAVE_SIMT_fence, builder.getVoidTy(),
                {builder.getInt32(block ? CLEAVE_SIMT_BLOCK : CLEAVE_SIMT_DEVICE),
                 target.site(*fence, "fence")});
    fence->eraseFromParent();
  }
  return Error::success();
}
