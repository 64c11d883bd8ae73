//===- Models.cpp - what each collective costs ----------------------------===//
//
// Source: Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms for
// clusters of workstations, 2009. cleave_ring_bytes counts the same.
//
//===----------------------------------------------------------------------===//

#include "Dist/Dist.h"

#include <numeric>

using namespace mlir;
using namespace cleave::dist;

static int64_t bytesOf(RankedTensorType type) {
  int64_t bits = type.getElementType().getIntOrFloatBitWidth();
  return type.getNumElements() * std::max<int64_t>(1, bits / 8);
}

/// Bytes of one index of dimension `dim`.
static int64_t bytesOfRow(RankedTensorType type, int64_t dim) {
  int64_t elements = 1;
  for (int64_t d = 0; d < type.getRank(); ++d)
    elements *= d == dim ? 1 : type.getDimSize(d);
  return bytesOf(RankedTensorType::get({elements}, type.getElementType()));
}

static int64_t sum(ArrayRef<int64_t> counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t(0));
}

SmallVector<StringAttr> AllReduceOp::getGroupAxes() { return axisList(getAxes()); }
SmallVector<StringAttr> AllGatherOp::getGroupAxes() { return axisList(getAxes()); }
SmallVector<StringAttr> ReduceScatterOp::getGroupAxes() { return axisList(getAxes()); }
SmallVector<StringAttr> AllToAllOp::getGroupAxes() { return axisList(getAxes()); }
SmallVector<StringAttr> ExchangeOp::getGroupAxes() { return axisList(getAxes()); }
SmallVector<StringAttr> SendOp::getGroupAxes() { return axisList(getAxes()); }

int64_t AllReduceOp::getBytesSent(int64_t groupSize, int64_t) {
  return 2 * (groupSize - 1) * bytesOf(getType()) / groupSize;
}

// All blocks but that of the next member, which has it already.
int64_t AllGatherOp::getBytesSent(int64_t groupSize, int64_t member) {
  int64_t rows = sum(getCounts()) - getCounts()[(member + 1) % groupSize];
  return rows * bytesOfRow(getType(), getDim());
}

// All blocks but its own.
int64_t ReduceScatterOp::getBytesSent(int64_t, int64_t member) {
  int64_t rows = sum(getCounts()) - getCounts()[member];
  return rows * bytesOfRow(getType(), getDim());
}

int64_t AllToAllOp::getBytesSent(int64_t, int64_t member) {
  int64_t others = sum(getSplits()) - getSplits()[member];
  RankedTensorType row = getInput().getType();
  int64_t perIndex = bytesOfRow(row, getSplit());
  int64_t own = row.getDimSize(getConcat());
  return own ? others * perIndex / own * getConcats()[member] : 0;
}

int64_t ExchangeOp::getBytesSent(int64_t groupSize, int64_t member) {
  ArrayRef<int64_t> row = getCounts().slice(member * groupSize, groupSize);
  return bytesOf(
      RankedTensorType::get({sum(row) - row[member]}, getInput().getType().getElementType()));
}

int64_t SendOp::getBytesSent(int64_t, int64_t) { return bytesOf(getInput().getType()); }
