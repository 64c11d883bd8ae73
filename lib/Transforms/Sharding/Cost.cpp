//===- Cost.cpp - states of a tensor, and the price of moving -------------===//

#include "Cost.h"

#include <cmath>

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

int64_t sharding::picoseconds(double seconds) { return std::llround(seconds * 1e12); }

double sharding::largestPart(int64_t size, int64_t held, int64_t members) {
  double part = static_cast<double>((size + members - 1) / members) / size;
  double whole = static_cast<double>(held) / kWhole;
  return 1 - whole + whole * part;
}

double sharding::largestShare(State state, const Shares &shares, ArrayRef<Axis> axes) {
  double share = 1;
  for (unsigned a = 0; a < axes.size(); ++a) {
    AxisState cut = at(state, a);
    if (cut < kCut)
      continue;
    // Axes that cut alike make one group, counted at the first of them.
    int64_t members = axes[a].size;
    bool counted = false;
    for (unsigned b = 0; b < axes.size(); ++b)
      if (b != a && at(state, b) == cut) {
        counted |= b < a;
        members *= axes[b].size;
      }
    if (!counted)
      share *= largestPart(shares[cut - kCut].first, shares[cut - kCut].second, members);
  }
  return share;
}

SmallVector<Move, 2> sharding::moves(State from, State to, const Shares &shares,
                                     ArrayRef<Axis> axes, double bytes) {
  struct Change {
    AxisState from, to;
    unsigned axes;
  };
  SmallVector<Change, 2> changes;
  State current = from;
  for (unsigned a = 0; a < axes.size(); ++a) {
    AxisState x = at(from, a), y = at(to, a);
    if (x == kReplicated && y >= kCut)
      current = with(current, a, y);
    if (x == y || x == kReplicated)
      continue;
    auto *same = llvm::find_if(changes, [&](Change &c) { return c.from == x && c.to == y; });
    if (same == changes.end())
      same = changes.insert(changes.end(), {x, y, 0});
    same->axes |= 1u << a;
  }
  auto kindOf = [](const Change &change) {
    if (change.from == kPartial)
      return change.to >= kCut ? MoveKind::ReduceScatter : MoveKind::AllReduce;
    return change.to >= kCut ? MoveKind::AllToAll : MoveKind::AllGather;
  };
  auto order = [&](const Change &change) {
    switch (kindOf(change)) {
    case MoveKind::ReduceScatter: return 0;
    case MoveKind::AllReduce: return 1;
    case MoveKind::AllToAll: return 2;
    case MoveKind::AllGather: return 3;
    }
    llvm_unreachable("four kinds");
  };
  llvm::sort(changes, [&](const Change &a, const Change &b) {
    return std::pair(order(a), a.axes) < std::pair(order(b), b.axes);
  });

  SmallVector<Move, 2> out;
  for (const Change &change : changes) {
    MoveKind kind = kindOf(change);
    int64_t group = 1;
    State next = current;
    for (unsigned a = 0; a < axes.size(); ++a)
      if (change.axes >> a & 1) {
        group *= axes[a].size;
        next = with(next, a, change.to >= kCut ? change.to : kReplicated);
      }
    // A gather moves what is there after it, all else what is there before.
    State moved = kind == MoveKind::AllGather ? next : current;
    out.push_back({kind, bytes * largestShare(moved, shares, axes), group});
    current = next;
  }
  return out;
}

double sharding::collectiveSeconds(const Machine &machine, MoveKind kind, double bytes,
                                   int64_t group) {
  double wire = bytes * (group - 1) / group;
  if (kind == MoveKind::AllReduce)
    wire *= 2;
  return machine.latency + wire / machine.link;
}

int64_t sharding::movePrice(const Machine &machine, State from, State to, const Shares &shares,
                            ArrayRef<Axis> axes, double bytes) {
  constexpr int64_t kNever = 1'000'000'000'000'000;
  for (auto [a, axis] : llvm::enumerate(axes))
    if (axis.isInTime && at(from, a) != kReplicated && at(from, a) != at(to, a))
      return kNever;
  double seconds = 0;
  for (const Move &move : moves(from, to, shares, axes, bytes))
    seconds += collectiveSeconds(machine, move.kind, move.bytes, move.group);
  // Breaks ties: a slice, and more so a masked copy, is not quite free.
  for (unsigned a = 0; a < axes.size(); ++a)
    if (at(from, a) == kReplicated && at(to, a) != kReplicated)
      seconds += 1e-3 * bytes / machine.memory * (at(to, a) == kPartial ? 2 : 1);
  return picoseconds(seconds);
}
