//===- Tiles.cpp - matrices over lanes, and asynchronous copies -----------===//

#include "Retarget.h"

#include "llvm/ADT/StringSwitch.h"

using namespace llvm;
using namespace cleave::simt;

static Value *generic(IRBuilderBase &builder, Value *pointer) {
  return builder.CreateAddrSpaceCast(pointer, builder.getPtrTy());
}

/// ldmatrix.sync.aligned.m8n8.x4[.trans].b16
static Value *lowerLoadMatrix(Target &target, CallInst &call, StringRef name, StringRef rest) {
  if (!rest.consume_front("m8n8.x"))
    return nullptr;
  bool transposed = rest.contains(".trans");
  if (!rest.contains(".b16"))
    return nullptr;
  uint32_t count = uint32_t(rest[0] - '0');
  IRBuilder<> builder(&call);
  auto *array = ArrayType::get(builder.getInt32Ty(), count);
  Value *registers = Target::room(builder, array);
  Target::Access access{16, 16, call.getArgOperand(0)->getType()->getPointerAddressSpace(), true};
  target.call(builder, CLEAVE_SIMT_load_matrix, builder.getVoidTy(),
              {registers, generic(builder, call.getArgOperand(0)), builder.getInt32(count),
               builder.getInt32(transposed), target.site(call, name, access)});
  return builder.CreateLoad(call.getType(), registers);
}

/// stmatrix.sync.aligned.m8n8.x4[.trans].b16
static Value *lowerStoreMatrix(Target &target, CallInst &call, StringRef name, StringRef rest) {
  if (!rest.consume_front("m8n8.x") || !rest.contains(".b16"))
    return nullptr;
  uint32_t count = uint32_t(rest[0] - '0');
  IRBuilder<> builder(&call);
  auto *array = ArrayType::get(builder.getInt32Ty(), count);
  Value *registers = Target::room(builder, array);
  for (uint32_t i = 0; i < count; ++i)
    builder.CreateStore(call.getArgOperand(i + 1),
                        builder.CreateConstInBoundsGEP2_32(array, registers, 0, i));
  Target::Access access{16, 16, call.getArgOperand(0)->getType()->getPointerAddressSpace(), true};
  return target.call(builder, CLEAVE_SIMT_store_matrix, builder.getVoidTy(),
                     {registers, generic(builder, call.getArgOperand(0)), builder.getInt32(count),
                      builder.getInt32(rest.contains(".trans")), target.site(call, name, access)});
}

/// mma.m16n8k16.row.col.f32.f32, mma.m16n8k32.row.col.satfinite.s8 …
static Value *lowerMultiply(Target &target, CallInst &call, StringRef name, StringRef rest) {
  uint32_t depth;
  if (!rest.consume_front("m16n8k") || rest.consumeInteger(10, depth) ||
      !rest.consume_front(".row.col."))
    return nullptr;
  unsigned type = StringSwitch<unsigned>(rest)
                      .Case("f32.f32", CLEAVE_SIMT_F16)
                      .Case("f16.f16", CLEAVE_SIMT_F16_F16)
                      .Case("bf16", CLEAVE_SIMT_BF16)
                      .Case("tf32", CLEAVE_SIMT_TF32)
                      .Case("s8", CLEAVE_SIMT_S8)
                      .Case("u8", CLEAVE_SIMT_U8)
                      .Case("s8.u8", CLEAVE_SIMT_S8_U8)
                      .Case("u8.s8", CLEAVE_SIMT_U8_S8)
                      .Case("f32.e4m3.e4m3.f32", CLEAVE_SIMT_E4M3)
                      .Case("f32.e5m2.e5m2.f32", CLEAVE_SIMT_E5M2)
                      .Case("f32.e4m3.e5m2.f32", CLEAVE_SIMT_E4M3_E5M2)
                      .Case("f32.e5m2.e4m3.f32", CLEAVE_SIMT_E5M2_E4M3)
                      .Default(~0u);
  if (type == ~0u)
    return nullptr;
  IRBuilder<> builder(&call);
  // Operands are 32 bits each, whatever they are called.
  auto *operands = ArrayType::get(builder.getInt32Ty(), call.arg_size());
  Value *in = Target::room(builder, operands), *out = Target::room(builder, call.getType());
  for (auto [i, argument] : enumerate(call.args()))
    builder.CreateStore(argument, builder.CreateConstInBoundsGEP2_32(operands, in, 0, unsigned(i)));
  Target::Access access;
  access.aligned = true;
  target.call(
      builder, CLEAVE_SIMT_multiply, builder.getVoidTy(),
      {out, in, builder.getInt32(depth), builder.getInt32(type), target.site(call, name, access)});
  return builder.CreateLoad(call.getType(), out);
}

/// cp.async.ca.shared.global.16[.s], commit.group, wait.group, wait.all
static Value *lowerCopy(Target &target, CallInst &call, StringRef name, StringRef rest) {
  IRBuilder<> builder(&call);
  auto does = [&](cleave_simt_function function, ArrayRef<Value *> arguments) {
    return target.call(builder, function, builder.getVoidTy(), arguments);
  };
  if (rest == "commit.group")
    return does(CLEAVE_SIMT_copy_commit, {});
  if (rest == "wait.group")
    return does(CLEAVE_SIMT_copy_wait, {call.getArgOperand(0)});
  if (rest == "wait.all")
    return does(CLEAVE_SIMT_copy_wait_all, {});
  bool counted = rest.consume_back(".s");
  uint32_t bytes;
  if (!(rest.consume_front("ca.shared.global.") || rest.consume_front("cg.shared.global.")) ||
      rest.getAsInteger(10, bytes))
    return nullptr;
  Value *size = builder.getInt32(bytes);
  Target::Access access{bytes, bytes, CLEAVE_SIMT_SHARED, false};
  return does(CLEAVE_SIMT_copy_async,
              {generic(builder, call.getArgOperand(0)), generic(builder, call.getArgOperand(1)),
               size, counted ? call.getArgOperand(2) : size, target.site(call, name, access)});
}

Value *cleave::simt::lowerTile(Target &target, CallInst &call, StringRef name) {
  StringRef rest = name;
  if (rest.consume_front("ldmatrix.sync.aligned."))
    return lowerLoadMatrix(target, call, name, rest);
  if (rest.consume_front("stmatrix.sync.aligned."))
    return lowerStoreMatrix(target, call, name, rest);
  if (rest.consume_front("mma."))
    return lowerMultiply(target, call, name, rest);
  if (rest.starts_with("cp.async.") && !rest.starts_with("cp.async.bulk."))
    return lowerCopy(target, call, name, rest.drop_front(strlen("cp.async.")));
  return lowerAsync(target, call, name);
}
