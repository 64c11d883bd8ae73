//===- TensorMap.h - what a CUtensorMap holds here --------------*- C++ -*-===//

#ifndef CLEAVE_RUNTIME_SIMT_TENSORMAP_H
#define CLEAVE_RUNTIME_SIMT_TENSORMAP_H

#include <cuda.h>

#include <algorithm>
#include <cstdint>

namespace cleave::simt {

/// A tensor in memory, and boxes of it in shared memory.
struct TensorMap {
  static constexpr uint32_t mark = 0x70616d74;
  uint32_t magic = 0;
  uint8_t rank = 0, elementBytes = 0;
  uint8_t swizzle = 0; ///< how many bits of addresses are changed
  uint64_t address = 0;
  uint64_t strides[5] = {}; ///< in bytes
  uint32_t sizes[5] = {};
  uint16_t box[5] = {};

  /// 16 bytes of a box, and what of them is in the tensor.
  struct Chunk {
    uint64_t offset;         ///< in the box
    uint64_t address;        ///< of what is in the tensor
    uint32_t skipped, bytes; ///< before it, and of it
  };

  /// Calls `act` for each chunk of the box at `corner`.
  template <typename Act> void eachChunk(const int32_t *corner, Act &&act) const {
    uint64_t rowBytes = uint64_t(box[0]) * elementBytes, rows = 1;
    for (uint32_t i = 1; i < rank; ++i)
      rows *= box[i];
    for (uint64_t row = 0; row < rows; ++row) {
      uint64_t rest = row, start = address;
      bool inside = true;
      for (uint32_t i = 1; i < rank; ++i) {
        int64_t at = corner[i] + int64_t(rest % box[i]);
        rest /= box[i];
        inside &= at >= 0 && at < int64_t(sizes[i]);
        start += uint64_t(at) * strides[i];
      }
      for (uint64_t byte = 0; byte < rowBytes; byte += 16) {
        int64_t first = int64_t(corner[0]) * elementBytes + int64_t(byte);
        int64_t begin = std::max<int64_t>(first, 0);
        int64_t end = std::min(first + 16, int64_t(sizes[0]) * elementBytes);
        bool any = inside && begin < end;
        act(Chunk{row * rowBytes + byte, start + uint64_t(begin), uint32_t(begin - first),
                  any ? uint32_t(end - begin) : 0});
      }
    }
  }

  /// Bits 4 and on of an address by those from 7 on.
  uint64_t swizzled(uint64_t where) const { return swizzledBy(where, swizzle); }
  static uint64_t swizzledBy(uint64_t where, uint32_t bits) {
    return where ^ (where >> 3 & ((uint64_t(1) << bits) - 1) << 4);
  }
};
static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));

} // namespace cleave::simt

#endif // CLEAVE_RUNTIME_SIMT_TENSORMAP_H
