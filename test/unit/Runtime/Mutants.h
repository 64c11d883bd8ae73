//===- Mutants.h - programs with one thing wrong, and whether it is -*- C++ -*-===//
//
// A mutant has one exchange of one rank changed. Whether that changes what the program
// does is decided without the verifier: the lists are run, exchange by exchange, by a
// scheduler that draws which rank goes next. A mutant is equivalent to its program if
// under each of several schedules all ranks reach their end, every member of a
// collective is at the same one (op, type, reduction, group, counts, name), every
// message is received as what it was sent as (type, count, group), every send is ended,
// and nothing that flies is written. Which of two equal messages of one pair is meant
// no list says, so that two of them may change places.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_TEST_UNIT_RUNTIME_MUTANTS_H
#define CLEAVE_TEST_UNIT_RUNTIME_MUTANTS_H

#include "Programs.h"

#include <random>
#include <string>

namespace cleave::test {

/// The same program, each rank with lists, buffers and counts of its own.
Builder ownLists(const cleave_program &program);

/// Changes `main` of one rank and says how; empty where the draw does not apply. What
/// it leaves is sound by itself: only other ranks show that it is wrong.
std::string mutate(Builder &builder, std::mt19937 &random);

/// Empty, or what is wrong under one of `schedules` drawn schedules.
std::string whatIsWrong(const cleave_program &program, std::mt19937 &random, uint32_t schedules);

struct Proof {
  uint32_t mutants = 0, equivalent = 0;
  std::string problem; ///< a mutant of which the verifier says something else
};

/// Draws `count` mutants of the program, and compares what the verifier says of them.
Proof provesMutants(const cleave_program &program, uint32_t count, std::mt19937 &random);

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_RUNTIME_MUTANTS_H
