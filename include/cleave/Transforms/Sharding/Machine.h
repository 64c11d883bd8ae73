//===- Machine.h - what the search believes of a device -------*- C++ -*-===//

#ifndef CLEAVE_TRANSFORMS_SHARDING_MACHINE_H
#define CLEAVE_TRANSFORMS_SHARDING_MACHINE_H

namespace cleave {

/// Only ratios matter to a decision. The figures of one H100 are the default for
/// every target: they cut as people cut, while on a CPU with more ranks than
/// cores replication costs what cutting saves.
struct Machine {
  double latency = 10e-6; ///< s, one small collective of any kind
  double link = 400e9;    ///< B/s one way, a rank
  double flops = 690e12;  ///< 1/s, a rank
  double memory = 2.7e12; ///< B/s, a rank
  /// What a byte of weight held by a rank costs, in readings of it: the decode
  /// steps that follow one prefill. 1 is not enough to cut weights in a prefill.
  double hold = 8;
  /// Latencies added for a matrix that no axis cuts, so that a model of hidden
  /// size 64 is cut as a big one is.
  double floor = 4;

  /// One core of an EPYC 9555 with ranks as fibers.
  static Machine cpu() { return {0.3e-6, 15e9, 100e9, 15e9}; }
};

} // namespace cleave

#endif // CLEAVE_TRANSFORMS_SHARDING_MACHINE_H
