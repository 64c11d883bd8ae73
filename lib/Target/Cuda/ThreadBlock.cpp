//===- ThreadBlock.cpp - the threads that run a kernel together -----------------===//

#include "ThreadBlock.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace cleave::cuda;

ThreadBlock::ThreadBlock(Emitter &emitter, const Launch &launch) : launch(launch), e(emitter) {
  OpBuilder &b = e.builder;
  auto bound = [&](int64_t count) { return b.getIndexAttr(count); };
  thread =
      gpu::ThreadIdOp::create(b, e.loc, b.getIndexType(), gpu::Dimension::x, bound(launch.threads));
  number =
      gpu::BlockIdOp::create(b, e.loc, b.getIndexType(), gpu::Dimension::x, bound(launch.blocks));
  Value threads = e.indexConstant(launch.threads), size = e.indexConstant(kWarp);
  Value before = arith::MulIOp::create(b, e.loc, number, threads);
  globalNumber = arith::AddIOp::create(b, e.loc, before, thread);
  globalCount = e.indexConstant(launch.threads * launch.blocks);
  lane = arith::RemUIOp::create(b, e.loc, thread, size);
  warpNumber = arith::DivUIOp::create(b, e.loc, thread, size);
}

void ThreadBlock::sync() { gpu::BarrierOp::create(e.builder, e.loc); }

void ThreadBlock::syncWarp() {
  Value all = e.constantOf(e.builder.getI32Type(), -1, 1);
  NVVM::SyncWarpOp::create(e.builder, e.loc, all);
}

Value cleave::cuda::pointerOf(OpBuilder &b, Location loc, Value memory, unsigned space) {
  Type type = LLVM::LLVMPointerType::get(b.getContext(), space);
  return UnrealizedConversionCastOp::create(b, loc, type, memory).getResult(0);
}

Value cleave::cuda::combine(Emitter &e, vector::CombiningKind kind, Value x, Value y) {
  switch (kind) {
  case vector::CombiningKind::MAXIMUMF: return arith::MaximumFOp::create(e.builder, e.loc, x, y);
  case vector::CombiningKind::MINIMUMF: return arith::MinimumFOp::create(e.builder, e.loc, x, y);
  case vector::CombiningKind::MUL: return arith::MulFOp::create(e.builder, e.loc, x, y);
  default: return arith::AddFOp::create(e.builder, e.loc, x, y);
  }
}

Value ThreadBlock::reduce(Value x, vector::CombiningKind kind, bool isWhole, int64_t slots) {
  OpBuilder &b = e.builder;
  Value width = e.constantOf(b.getI32Type(), kWarp, 1);
  for (int64_t distance = kWarp / 2; distance > 0; distance /= 2) {
    Value offset = e.constantOf(b.getI32Type(), distance, 1);
    auto other = gpu::ShuffleOp::create(b, e.loc, x, offset, width, gpu::ShuffleMode::XOR);
    x = combine(e, kind, x, other.getShuffleResult());
  }
  int64_t warps = launch.threads / kWarp;
  if (!isWhole || warps == 1)
    return x;
  Value isFirst =
      arith::CmpIOp::create(b, e.loc, arith::CmpIPredicate::eq, lane, e.indexConstant(0));
  e.when(isFirst, [&] { e.storeScratch(slots, Index::of(e.symbol(warpNumber, warps)), x); });
  sync();
  // All read all, in one order: they get the same bits.
  x = e.loadScratch(slots, 0, 1);
  for (int64_t i = 1; i < warps; ++i)
    x = combine(e, kind, x, e.loadScratch(slots, i, 1));
  return x;
}
