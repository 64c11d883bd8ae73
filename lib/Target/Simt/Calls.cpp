//===- Calls.cpp - NVVM's intrinsics become calls of the simulator --------===//

#include "Retarget.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"

using namespace llvm;
using namespace cleave::simt;

/// Is `name` one of `names`, or that with a dot and more behind it?
static bool isOneOf(StringRef name, std::initializer_list<StringRef> names) {
  return any_of(names, [&](StringRef one) {
    return name == one || (name.starts_with(one) && name[one.size()] == '.');
  });
}

static std::optional<unsigned> numberOfRegister(StringRef name) {
  unsigned number = StringSwitch<unsigned>(name)
                        .Case("laneid", CLEAVE_SIMT_LANE)
                        .Case("warpid", CLEAVE_SIMT_WARP)
                        .Case("nwarpid", CLEAVE_SIMT_NUM_WARPS)
                        .Case("dynamic_smem_size", CLEAVE_SIMT_DYNAMIC_BYTES)
                        .Case("total_smem_size", CLEAVE_SIMT_SHARED_BYTES)
                        .Default(~0u);
  if (number != ~0u)
    return number;
  auto [base, dimension] = name.split('.');
  unsigned first = StringSwitch<unsigned>(base)
                       .Case("tid", CLEAVE_SIMT_TID)
                       .Case("ntid", CLEAVE_SIMT_NTID)
                       .Case("ctaid", CLEAVE_SIMT_CTAID)
                       .Case("nctaid", CLEAVE_SIMT_NCTAID)
                       .Default(~0u);
  if (first == ~0u || dimension.size() != 1 || dimension[0] < 'x' || dimension[0] > 'z')
    return std::nullopt;
  return first + unsigned(dimension[0] - 'x');
}

namespace {

/// Replaces the call of one intrinsic.
class Lowering {
public:
  Lowering(Target &target, CallInst &call, StringRef name)
      : target(target), call(call), name(name), builder(&call) {}

  /// The value of the call, or null for an intrinsic that this does not know.
  Value *lower() {
    if (StringRef rest = name; rest.consume_front("read.ptx.sreg."))
      return lowerRegister(rest);
    if (StringRef rest = name; rest.consume_front("barrier.cta."))
      return lowerBarrier(rest);
    if (StringRef rest = name; rest.consume_front("shfl.sync."))
      return lowerShuffle(rest);
    if (Value *value = lowerWarp())
      return value;
    if (Value *value = lowerRest())
      return value;
    if (Value *value = lowerTile(target, call, name))
      return value;
    return lowerArithmetic(target, call, name, SmallVector<Value *>(call.args()));
  }

private:
  Value *word(uint32_t value) { return builder.getInt32(value); }
  Value *argument(unsigned i) { return call.getArgOperand(i); }
  Value *wide(unsigned i) { return builder.CreateZExt(argument(i), builder.getInt32Ty()); }
  Value *flag(Value *value) { return builder.CreateICmpNE(value, word(0)); }
  Value *site(bool aligned = false) {
    Target::Access access;
    access.aligned = aligned;
    return target.site(call, name, access);
  }
  Value *does(cleave_simt_function function, ArrayRef<Value *> arguments) {
    return target.call(builder, function, builder.getVoidTy(), arguments);
  }
  Value *gives(cleave_simt_function function, ArrayRef<Value *> arguments) {
    return target.call(builder, function, builder.getInt32Ty(), arguments);
  }
  /// {value, flag}, the flag being what the simulator left in `room`.
  Value *pair(Value *value, Value *room) {
    Value *result = builder.CreateInsertValue(PoisonValue::get(call.getType()), value, 0);
    return builder.CreateInsertValue(result, flag(builder.CreateLoad(builder.getInt32Ty(), room)),
                                     1);
  }

  Value *lowerRegister(StringRef which) {
    if (which == "warpsize")
      return word(32);
    // Without clusters a block is one.
    if (isOneOf(which, {"cluster.ctaid", "cluster.ctarank"}))
      return word(0);
    if (isOneOf(which, {"cluster.nctaid", "cluster.nctarank"}))
      return word(1);
    if (isOneOf(which, {"clock", "clock64", "globaltimer", "globaltimer.lo"}))
      return builder.CreateZExtOrTrunc(
          target.call(builder, CLEAVE_SIMT_clock, builder.getInt64Ty(), {}), call.getType());
    if (StringRef mask = which; mask.consume_front("lanemask."))
      return lowerLaneMask(mask);
    std::optional<unsigned> number = numberOfRegister(which);
    if (!number)
      return nullptr;
    auto *value = cast<CallInst>(gives(CLEAVE_SIMT_sreg, {word(*number)}));
    value->setMemoryEffects(MemoryEffects::none());
    value->addFnAttr(Attribute::WillReturn);
    return value;
  }

  Value *lowerLaneMask(StringRef which) {
    Value *lane = gives(CLEAVE_SIMT_sreg, {word(CLEAVE_SIMT_LANE)});
    Value *own = builder.CreateShl(word(1), lane), *below = builder.CreateSub(own, word(1));
    if (which == "eq")
      return own;
    if (which == "lt")
      return below;
    if (which == "le")
      return builder.CreateOr(own, below);
    if (which == "ge")
      return builder.CreateNot(below);
    return which == "gt" ? builder.CreateNot(builder.CreateOr(own, below)) : nullptr;
  }

  /// sync|arrive|red.OP [.aligned] .all|.count
  Value *lowerBarrier(StringRef rest) {
    bool all = rest.consume_back(".all");
    if (!all && !rest.consume_back(".count"))
      return nullptr;
    bool aligned = rest.consume_back(".aligned");
    Value *id = argument(0), *threads = all ? word(0) : argument(1);
    if (rest == "sync")
      return does(CLEAVE_SIMT_barrier, {id, threads, site(aligned)});
    if (rest == "arrive")
      return does(CLEAVE_SIMT_barrier_arrive, {id, threads, site(aligned)});
    unsigned operation = StringSwitch<unsigned>(rest)
                             .Case("red.popc", CLEAVE_SIMT_POPC)
                             .Case("red.and", CLEAVE_SIMT_AND)
                             .Case("red.or", CLEAVE_SIMT_OR)
                             .Default(~0u);
    if (operation == ~0u)
      return nullptr;
    Value *value = gives(CLEAVE_SIMT_barrier_reduce,
                         {id, threads, wide(all ? 1 : 2), word(operation), site(aligned)});
    return operation == CLEAVE_SIMT_POPC ? value : flag(value);
  }

  /// MODE.i32|f32[p]
  Value *lowerShuffle(StringRef rest) {
    bool withFlag = rest.consume_back("p");
    auto [how, type] = rest.split('.');
    unsigned mode = StringSwitch<unsigned>(how)
                        .Case("up", CLEAVE_SIMT_UP)
                        .Case("down", CLEAVE_SIMT_DOWN)
                        .Case("bfly", CLEAVE_SIMT_BFLY)
                        .Case("idx", CLEAVE_SIMT_IDX)
                        .Default(~0u);
    if (mode == ~0u)
      return nullptr;
    Value *inside = Target::room(builder, builder.getInt32Ty());
    Value *value = builder.CreateBitCast(argument(1), builder.getInt32Ty());
    value = gives(CLEAVE_SIMT_shuffle,
                  {argument(0), value, argument(2), argument(3), word(mode), inside, site()});
    value = builder.CreateBitCast(value, argument(1)->getType());
    return withFlag ? pair(value, inside) : value;
  }

  Value *lowerWarp() {
    if (name == "bar.warp.sync")
      return does(CLEAVE_SIMT_warp_sync, {argument(0), site()});
    if (StringRef mode = name; mode.consume_front("vote.") && mode.consume_back(".sync"))
      return lowerVote(mode);
    if (StringRef rest = name; rest.consume_front("match.")) {
      Value *equal = Target::room(builder, builder.getInt32Ty());
      Value *value = builder.CreateZExt(argument(1), builder.getInt64Ty());
      bool all = rest.starts_with("all");
      value = gives(CLEAVE_SIMT_match, {argument(0), value, word(all), equal, site()});
      return all ? pair(value, equal) : value;
    }
    if (name == "elect.sync") {
      Value *elected = Target::room(builder, builder.getInt32Ty());
      return pair(gives(CLEAVE_SIMT_elect, {argument(0), elected, site()}), elected);
    }
    if (StringRef rest = name; rest.consume_front("redux.sync.")) {
      unsigned operation = StringSwitch<unsigned>(rest)
                               .Case("add", CLEAVE_SIMT_ADD)
                               .Case("and", CLEAVE_SIMT_AND)
                               .Case("or", CLEAVE_SIMT_OR)
                               .Case("xor", CLEAVE_SIMT_XOR)
                               .Case("min", CLEAVE_SIMT_MIN)
                               .Case("max", CLEAVE_SIMT_MAX)
                               .Case("umin", CLEAVE_SIMT_UMIN)
                               .Case("umax", CLEAVE_SIMT_UMAX)
                               .Default(~0u);
      if (operation != ~0u)
        return gives(CLEAVE_SIMT_reduce, {argument(1), argument(0), word(operation), site()});
    }
    return nullptr;
  }

  Value *lowerVote(StringRef how) {
    unsigned mode = StringSwitch<unsigned>(how)
                        .Case("all", CLEAVE_SIMT_ALL)
                        .Case("any", CLEAVE_SIMT_ANY)
                        .Case("uni", CLEAVE_SIMT_UNI)
                        .Case("ballot", CLEAVE_SIMT_BALLOT)
                        .Default(~0u);
    if (mode == ~0u)
      return nullptr;
    Value *value = gives(CLEAVE_SIMT_vote, {argument(0), wide(1), word(mode), site()});
    return mode == CLEAVE_SIMT_BALLOT ? value : flag(value);
  }

  Value *lowerRest() {
    if (isOneOf(name, {"membar.cta"}))
      return does(CLEAVE_SIMT_fence, {word(CLEAVE_SIMT_BLOCK), site()});
    if (isOneOf(name, {"membar.gl", "membar.sys", "fence.sc.cluster"}))
      return does(CLEAVE_SIMT_fence, {word(CLEAVE_SIMT_DEVICE), site()});
    if (name == "nanosleep")
      return does(CLEAVE_SIMT_sleep, {});
    if (name == "exit")
      return nullptr;
    if (name.starts_with("prefetch"))
      return builder.getTrue();
    if (StringRef space = name; space.consume_front("isspacep.")) {
      unsigned number = StringSwitch<unsigned>(space)
                            .Case("global", CLEAVE_SIMT_GLOBAL)
                            .Case("shared", CLEAVE_SIMT_SHARED)
                            .Case("const", CLEAVE_SIMT_CONSTANT)
                            .Case("local", CLEAVE_SIMT_LOCAL)
                            .Default(~0u);
      if (number != ~0u)
        return flag(gives(CLEAVE_SIMT_is_space, {argument(0), word(number)}));
    }
    return nullptr;
  }

  Target &target;
  CallInst &call;
  StringRef name;
  IRBuilder<> builder;
};

} // namespace

/// Intrinsics of LLVM that end up in memory.
static Value *lowerMemory(Target &target, CallInst &call) {
  IRBuilder<> builder(&call);
  auto *copy = dyn_cast<AnyMemIntrinsic>(&call);
  if (!copy) {
    if (call.getIntrinsicID() == Intrinsic::trap || call.getIntrinsicID() == Intrinsic::ubsantrap)
      return target.call(builder, CLEAVE_SIMT_trap, builder.getVoidTy(),
                         {target.site(call, "trap")});
    return nullptr;
  }
  auto generic = [&](Value *pointer) {
    return builder.CreateAddrSpaceCast(pointer, builder.getPtrTy());
  };
  Value *bytes = builder.CreateZExt(copy->getLength(), builder.getInt64Ty());
  if (auto *fill = dyn_cast<AnyMemSetInst>(copy))
    return target.call(builder, CLEAVE_SIMT_fill, builder.getVoidTy(),
                       {generic(fill->getRawDest()),
                        builder.CreateZExt(fill->getValue(), builder.getInt32Ty()), bytes,
                        target.site(call, "fill")});
  return target.call(builder, CLEAVE_SIMT_copy, builder.getVoidTy(),
                     {generic(copy->getRawDest()),
                      generic(cast<AnyMemTransferInst>(copy)->getRawSource()), bytes,
                      target.site(call, "copy")});
}

/// What a GPU's code may call although it has no body.
static Value *lowerLibrary(Target &target, CallInst &call, StringRef name) {
  IRBuilder<> builder(&call);
  if (name == "__assertfail")
    return target.call(builder, CLEAVE_SIMT_fail_assert, builder.getVoidTy(),
                       {call.getArgOperand(0), call.getArgOperand(1), call.getArgOperand(2),
                        call.getArgOperand(3), call.getArgOperand(4), target.site(call, "assert")});
  return nullptr;
}

/// Intrinsics of LLVM that the host knows, or that say nothing to it.
static bool staysAsItIs(const CallInst &call) {
  const Function *callee = call.getCalledFunction();
  if (callee && !callee->isDeclaration())
    return true;
  const auto *intrinsic = dyn_cast<IntrinsicInst>(&call);
  if (!intrinsic || callee->getName().starts_with("llvm.nvvm."))
    return false;
  return intrinsic->doesNotAccessMemory() || intrinsic->isAssumeLikeIntrinsic() ||
         intrinsic->getIntrinsicID() == Intrinsic::prefetch ||
         intrinsic->getIntrinsicID() == Intrinsic::fake_use;
}

static Error lowerCall(Target &target, CallInst &call) {
  Value *value = nullptr;
  std::string what;
  if (call.isInlineAsm()) {
    StringRef text = cast<InlineAsm>(call.getCalledOperand())->getAsmString();
    value = lowerAssembly(target, call, text);
    what = ("the assembly \"" + text + "\"").str();
  } else if (!call.getCalledFunction()) {
    what = "calls through pointers";
  } else {
    StringRef name = call.getCalledFunction()->getName();
    what = ("\"" + name + "\"").str();
    if (StringRef rest = name; rest.consume_front("llvm.nvvm."))
      value = Lowering(target, call, rest).lower();
    else if (!(value = lowerMemory(target, call)))
      value = lowerLibrary(target, call, name);
    if (!value && staysAsItIs(call))
      return Error::success();
  }
  if (!value)
    return unknown(call, what);
  if (!call.getType()->isVoidTy())
    call.replaceAllUsesWith(value);
  call.eraseFromParent();
  return Error::success();
}

Error cleave::simt::lowerCalls(Target &target) {
  std::vector<CallInst *> calls;
  for (Function &function : target.module)
    for (Instruction &instruction : instructions(function))
      if (auto *call = dyn_cast<CallInst>(&instruction))
        calls.push_back(call);
  for (CallInst *call : calls)
    if (Error error = lowerCall(target, *call))
      return error;
  return Error::success();
}
