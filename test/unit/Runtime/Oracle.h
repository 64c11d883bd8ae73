//===- Oracle.h - what collectives mean, one element at a time -*- C++ -*-===//

#ifndef CLEAVE_TEST_UNIT_RUNTIME_ORACLE_H
#define CLEAVE_TEST_UNIT_RUNTIME_ORACLE_H

#include "cleave/Runtime/Program.h"

#include <vector>

namespace cleave::test {

using Bytes = std::vector<uint8_t>;

/// What each member gets from a collective, by the table of Program.h.
std::vector<Bytes> expected(uint8_t op, uint8_t type, uint8_t reduction,
                            const std::vector<uint64_t> &counts, const std::vector<Bytes> &inputs);

/// Bitwise, but for which NaN a NaN is.
bool equal(uint8_t type, const void *got, const Bytes &want);

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_RUNTIME_ORACLE_H
