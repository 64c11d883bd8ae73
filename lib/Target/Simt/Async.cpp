//===- Async.cpp - mbarriers, bulk copies and fences of proxies -----------===//

#include "Retarget.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Transforms/Utils/BasicBlockUtils.h"

using namespace llvm;
using namespace cleave::simt;

namespace {

/// One call, by the parts of its name.
class Async {
public:
  Async(Target &target, CallInst &call, StringRef name)
      : target(target), call(call), name(name), builder(&call) {
    name.split(words, '.');
  }

  /// The value of the call; null for what is not known.
  Value *lower() {
    if (words[0] == "mbarrier")
      return lowerBarrier();
    if (name.starts_with("cp.async.bulk."))
      return lowerBulk();
    if (name.starts_with("wgmma."))
      return lowerGroup();
    if (name == "fence.mbarrier_init.release.cluster")
      return does(CLEAVE_SIMT_fence_proxy, {word(CLEAVE_SIMT_INIT_FENCE), site()});
    if (is({"fence.proxy.async", "fence.proxy.async.global", "fence.proxy.async.shared_cta",
            "fence.proxy.async.shared_cluster"}))
      return does(CLEAVE_SIMT_fence_proxy, {word(CLEAVE_SIMT_ASYNC_FENCE), site()});
    if (name == "griddepcontrol.wait")
      return does(CLEAVE_SIMT_grid_wait, {});
    // They change how long something takes, not what comes out.
    if (is({"griddepcontrol.launch.dependents", "setmaxnreg.inc.sync.aligned.u32",
            "setmaxnreg.dec.sync.aligned.u32"}))
      return builder.getTrue();
    return nullptr;
  }

  Value *initBarrier(Value *barrier, Value *count) {
    return does(CLEAVE_SIMT_mbarrier_init, {generic(barrier), count, barrierSite()});
  }

  Value *arrive(Value *barrier, Value *count, Value *bytes, uint32_t flags) {
    return target.call(builder, CLEAVE_SIMT_mbarrier_arrive, builder.getInt64Ty(),
                       {generic(barrier), count, bytes, word(flags), barrierSite()});
  }

  /// A loop that ends with the phase of that parity.
  Value *waitFor(Value *barrier, Value *parity) {
    return test(barrier, parity, CLEAVE_SIMT_PARITY | CLEAVE_SIMT_SUSPEND | CLEAVE_SIMT_FOREVER);
  }

  Value *loadTensor(Value *box, Value *barrier, Value *map, ArrayRef<Value *> corner) {
    return does(CLEAVE_SIMT_tensor_load, {generic(box), generic(barrier), generic(map),
                                          array(corner), word(corner.size()), bulkSite()});
  }

private:
  bool is(ArrayRef<StringRef> names) const { return is_contained(names, name); }
  bool has(StringRef word) const { return is_contained(words, word); }
  Value *word(uint64_t value) { return builder.getInt32(uint32_t(value)); }
  Value *argument(unsigned i) { return call.getArgOperand(i); }
  Value *generic(Value *pointer) {
    return builder.CreateAddrSpaceCast(pointer, builder.getPtrTy());
  }
  Value *does(cleave_simt_function function, ArrayRef<Value *> arguments) {
    return target.call(builder, function, builder.getVoidTy(), arguments);
  }
  Constant *site() {
    Target::Access access;
    access.aligned = true;
    return target.site(call, name, access);
  }
  Constant *barrierSite() { return target.site(call, name, {8, 8, CLEAVE_SIMT_GENERIC, false}); }
  Constant *bulkSite() { return target.site(call, name, {16, 16, CLEAVE_SIMT_GENERIC, false}); }

  Value *array(ArrayRef<Value *> values) {
    auto *type = ArrayType::get(builder.getInt32Ty(), values.size());
    Value *room = Target::room(builder, type);
    for (auto [i, value] : enumerate(values))
      builder.CreateStore(value, builder.CreateConstInBoundsGEP2_32(type, room, 0, unsigned(i)));
    return room;
  }

  Value *test(Value *barrier, Value *phase, uint32_t flags) {
    Value *ended = target.call(builder, CLEAVE_SIMT_mbarrier_test, builder.getInt32Ty(),
                               {generic(barrier), builder.CreateZExt(phase, builder.getInt64Ty()),
                                word(flags), barrierSite()});
    return builder.CreateICmpNE(ended, word(0));
  }

  /// mbarrier.OPERATION[.relaxed][.scope.SCOPE.space.SPACE][.shared]
  Value *lowerBarrier() {
    Value *one = word(1), *none = word(0), *last = argument(call.arg_size() - 1);
    uint32_t flags = has("relaxed") ? CLEAVE_SIMT_RELAXED : 0;
    StringRef operation = words[1];
    if (operation == "init")
      return initBarrier(argument(0), argument(1));
    if (operation == "inval")
      return does(CLEAVE_SIMT_mbarrier_inval, {generic(argument(0)), barrierSite()});
    if (operation == "expect" || operation == "complete") {
      Value *bytes = operation == "expect" ? last : builder.CreateNeg(last);
      return does(CLEAVE_SIMT_mbarrier_expect, {generic(argument(0)), bytes, barrierSite()});
    }
    if (operation == "arrive") {
      flags |= has("drop") ? CLEAVE_SIMT_DROP : 0;
      flags |= has("noComplete") ? CLEAVE_SIMT_NO_COMPLETE : 0;
      bool expects = has("expect"), counts = !expects && call.arg_size() == 2;
      return arrive(argument(0), counts ? last : one, expects ? last : none, flags);
    }
    if ((operation != "test" && operation != "try") || words[2] != "wait")
      return nullptr;
    flags |= has("parity") ? CLEAVE_SIMT_PARITY : 0;
    flags |= operation == "try" ? CLEAVE_SIMT_SUSPEND : 0;
    return test(argument(0), argument(1), flags);
  }

  Value *lowerBulk() {
    if (name == "cp.async.bulk.commit.group")
      return does(CLEAVE_SIMT_bulk_commit, {});
    if (is({"cp.async.bulk.wait.group", "cp.async.bulk.wait.group.read"}))
      return does(CLEAVE_SIMT_bulk_wait, {argument(0), word(has("read"))});
    if (is({"cp.async.bulk.global.to.shared.cluster", "cp.async.bulk.global.to.shared.cta"}))
      return isMulticast()
                 ? nullptr
                 : does(CLEAVE_SIMT_bulk_load, {generic(argument(0)), generic(argument(1)),
                                                generic(argument(2)), argument(3), bulkSite()});
    if (name == "cp.async.bulk.shared.cta.to.global")
      return does(CLEAVE_SIMT_bulk_store,
                  {generic(argument(0)), generic(argument(1)), argument(2), bulkSite()});
    // cp.async.bulk.tensor.g2s[.cta].tile.2d, cp.async.bulk.tensor.s2g.tile.2d
    uint32_t rank;
    if (words.size() < 7 || words[3] != "tensor" || words[words.size() - 2] != "tile" ||
        !words.back().consume_back("d") || words.back().getAsInteger(10, rank))
      return nullptr;
    SmallVector<Value *> corner;
    bool loads = words[4] == "g2s";
    for (uint32_t i = 0; i < rank; ++i)
      corner.push_back(argument((loads ? 3 : 2) + i));
    if (loads)
      return isMulticast() ? nullptr : loadTensor(argument(0), argument(1), argument(2), corner);
    if (words[4] != "s2g")
      return nullptr;
    return does(CLEAVE_SIMT_tensor_store, {generic(argument(0)), generic(argument(1)),
                                           array(corner), word(rank), bulkSite()});
  }

  /// Of copies to a cluster: whether its other blocks get them too, or two work together.
  bool isMulticast() const {
    auto isSet = [&](unsigned behind) {
      auto *flag = dyn_cast<ConstantInt>(call.getArgOperand(call.arg_size() - behind));
      return !flag || !flag->isZero();
    };
    if (has("cta"))
      return false;
    return has("tensor") ? isSet(1) || isSet(3) : isSet(2);
  }

  Value *lowerGroup() {
    if (name == "wgmma.fence.sync.aligned")
      return does(CLEAVE_SIMT_group_fence, {site()});
    if (name == "wgmma.commit_group.sync.aligned")
      return does(CLEAVE_SIMT_group_commit, {site()});
    if (name == "wgmma.wait_group.sync.aligned")
      return does(CLEAVE_SIMT_group_wait,
                  {builder.CreateTrunc(argument(0), builder.getInt32Ty()), site()});
    return nullptr;
  }

  Target &target;
  CallInst &call;
  StringRef name;
  IRBuilder<> builder;
  SmallVector<StringRef> words;
};

} // namespace

Value *cleave::simt::lowerAsync(Target &target, CallInst &call, StringRef name) {
  return Async(target, call, name).lower();
}

/// The words of a text, one space between them.
static std::string squeezed(StringRef text) {
  SmallVector<StringRef> parts;
  SplitString(text, parts, " \t\n");
  return join(parts, " ");
}

/// As NVVM spells what has a predicate, or is a loop.
Value *cleave::simt::lowerAsyncAssembly(Target &target, CallInst &call, StringRef assembly) {
  std::string words = squeezed(assembly);
  StringRef text = words;
  for (StringRef space : {"", ".shared"})
    if (text == ("{ .reg .pred P1; LAB_WAIT: mbarrier.try_wait.parity" + space +
                 ".b64 P1, [$0], $1, $2; @P1 bra.uni DONE; bra.uni LAB_WAIT; DONE: }")
                    .str())
      return Async(target, call, "mbarrier.try_wait.parity")
          .waitFor(call.getArgOperand(0), call.getArgOperand(1));

  unsigned predicate;
  bool hasPredicate = text.consume_front("@$");
  if (hasPredicate && (text.consumeInteger(10, predicate) || predicate >= call.arg_size()))
    return nullptr;
  auto [name, operands] = text.trim().split(' ');
  StringRef kind = name;
  bool makes = kind == "mbarrier.init.b64" || kind == "mbarrier.init.shared.b64";
  bool arrives =
      kind == "mbarrier.arrive.expect_tx.b64" || kind == "mbarrier.arrive.expect_tx.shared.b64";
  uint32_t rank = 0;
  bool loads = kind.consume_front("cp.async.bulk.tensor.") && !kind.consumeInteger(10, rank) &&
               kind == "d.shared::cluster.global.mbarrier::complete_tx::bytes" && rank &&
               call.arg_size() == rank + 3 + hasPredicate;
  bool known = makes ? operands == "[$0], $1;" : arrives ? operands == "_, [$0], $1;" : loads;
  if (!known || !call.getType()->isVoidTy())
    return nullptr;
  if (hasPredicate)
    call.moveBefore(SplitBlockAndInsertIfThen(call.getArgOperand(predicate), call.getIterator(),
                                              /*Unreachable=*/false)
                        ->getIterator());
  Async async(target, call, name);
  IRBuilder<> builder(&call);
  if (makes)
    return async.initBarrier(call.getArgOperand(0), call.getArgOperand(1));
  if (arrives)
    return async.arrive(call.getArgOperand(0), builder.getInt32(1), call.getArgOperand(1), 0);
  SmallVector<Value *> corner(call.arg_begin() + 2, call.arg_begin() + 2 + rank);
  return async.loadTensor(call.getArgOperand(0), call.getArgOperand(2 + rank),
                          call.getArgOperand(1), corner);
}
