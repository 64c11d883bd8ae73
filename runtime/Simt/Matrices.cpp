//===- Matrices.cpp - matrices over the lanes of a warp -------------------===//
//
// Fragments as the PTX ISA lays them out. With g = lane / 4 and q = lane % 4, and E
// elements in a register: A's register r holds row g + 8 (r % 2), columns q E + 4 E (r / 2)
// and on; B's holds the same columns as rows, of column g; C holds rows g and g + 8, columns
// 2 q and 2 q + 1.
//
//===----------------------------------------------------------------------===//

#include "Elements.h"
#include "Execution.h"
#include "Functions.h"

using namespace cleave::simt;

static uint16_t toHalf(float value) { return std::bit_cast<uint16_t>(_Float16(value)); }

namespace {

struct Row {
  char *address;
  uint32_t *registers; ///< count of them
  uint32_t count;
  bool transposed;

  /// The halves that `lane` holds of a matrix whose rows are at `rows`.
  static uint16_t *halfOf(char *const *rows, uint32_t lane, uint32_t half, bool transposed) {
    uint32_t outer = lane / 4, inner = lane % 4 * 2 + half;
    uint32_t row = transposed ? inner : outer, column = transposed ? outer : inner;
    return reinterpret_cast<uint16_t *>(rows[row]) + column;
  }
};

} // namespace

/// Moves matrices between rows in shared memory and registers.
template <bool load> static void finishMatrices(Execution &, Gathering &gathering) {
  auto row = [&](uint32_t lane) -> Row & { return *static_cast<Row *>(gathering.slots[lane]); };
  for (uint32_t matrix = 0; matrix < row(0).count; ++matrix) {
    char *rows[8];
    for (uint32_t i = 0; i < 8; ++i)
      rows[i] = row(matrix * 8 + i).address;
    for (uint32_t lane = 0; lane < 32; ++lane) {
      uint32_t &held = row(lane).registers[matrix];
      uint16_t halves[2];
      memcpy(halves, &held, sizeof halves);
      for (uint32_t half : {0u, 1u}) {
        uint16_t *there = Row::halfOf(rows, lane, half, row(lane).transposed);
        if (load)
          halves[half] = *there;
        else
          *there = halves[half];
      }
      if (load)
        memcpy(&held, halves, sizeof halves);
    }
  }
}

template <bool load>
static void moveMatrices(uint32_t *registers, void *address, uint32_t count, bool transposed,
                         cleave_simt_site *site) {
  Execution &execution = Execution::get();
  // Only lanes of the first matrices give addresses.
  if (execution.self().lane < 8 * count)
    execution.checkBanked(reinterpret_cast<uint64_t>(address),
                          load ? Execution::Touch::Read : Execution::Touch::Write, site);
  Row row{static_cast<char *>(address), registers, count, transposed};
  execution.meetAll(&row, finishMatrices<load>, count * 2 + transposed, site);
}

void device::load_matrix(uint32_t *registers, const void *row, uint32_t count, uint32_t transposed,
                         cleave_simt_site *site) {
  moveMatrices<true>(registers, const_cast<void *>(row), count, transposed != 0, site);
}

void device::store_matrix(const uint32_t *registers, void *row, uint32_t count, uint32_t transposed,
                          cleave_simt_site *site) {
  moveMatrices<false>(const_cast<uint32_t *>(registers), row, count, transposed != 0, site);
}

namespace {

struct Product {
  const uint32_t *operands; ///< A, B, C
  uint32_t *result;
  uint32_t depth, type;
};

template <typename Sum> class Tile {
public:
  explicit Tile(Gathering &gathering) : gathering(gathering), first(product(0)) {
    per = elementsOf(first.type);
    numB = first.depth / (4 * per);
    numA = 2 * numB;
    packed = first.type == CLEAVE_SIMT_F16_F16;
  }

  void multiply() {
    read();
    for (uint32_t i = 0; i < 16; ++i)
      for (uint32_t k = 0; k < first.depth; ++k)
        for (uint32_t j = 0; j < 8; ++j)
          c[i][j] += a[i][k] * b[k][j];
    for (uint32_t lane = 0; lane < 32; ++lane)
      write(lane);
  }

private:
  Product &product(uint32_t lane) const { return *static_cast<Product *>(gathering.slots[lane]); }

  void read() {
    for (uint32_t lane = 0; lane < 32; ++lane) {
      const uint32_t *in = product(lane).operands;
      uint32_t g = lane / 4, q = lane % 4;
      for (uint32_t r = 0; r < numA; ++r)
        for (uint32_t e = 0; e < per; ++e)
          a[g + 8 * (r % 2)][q * per + e + r / 2 * 4 * per] =
              element<Sum>(leftOf(first.type), in[r], e);
      for (uint32_t r = 0; r < numB; ++r)
        for (uint32_t e = 0; e < per; ++e)
          b[q * per + e + r * 4 * per][g] = element<Sum>(rightOf(first.type), in[numA + r], e);
      for (uint32_t i = 0; i < 4; ++i)
        c[g + i / 2 * 8][2 * q + i % 2] = sumAt(in + numA + numB, i);
    }
  }

  Sum sumAt(const uint32_t *sums, uint32_t i) const {
    if (packed)
      return Sum(fromHalf(uint16_t(sums[i / 2] >> 16 * (i % 2))));
    return std::bit_cast<Sum>(sums[i]);
  }

  void write(uint32_t lane) {
    uint32_t g = lane / 4, q = lane % 4, *out = product(lane).result;
    for (uint32_t i = 0; i < 4; ++i) {
      Sum value = c[g + i / 2 * 8][2 * q + i % 2];
      if (!packed)
        out[i] = std::bit_cast<uint32_t>(value);
      else if (i % 2)
        out[i / 2] |= uint32_t(toHalf(float(value))) << 16;
      else
        out[i / 2] = toHalf(float(value));
    }
  }

  Gathering &gathering;
  const Product &first;
  uint32_t per, numA, numB;
  bool packed;
  Sum a[16][32], b[32][8], c[16][8];
};

} // namespace

void device::multiply(uint32_t *result, const uint32_t *operands, uint32_t depth, uint32_t type,
                      cleave_simt_site *site) {
  Product product{operands, result, depth, type};
  auto finish = [](Execution &, Gathering &gathering) {
    uint32_t type = static_cast<Product *>(gathering.slots[0])->type;
    if (isOfIntegers(type))
      Tile<int32_t>(gathering).multiply();
    else
      Tile<float>(gathering).multiply();
  };
  Execution::get().meetAll(&product, finish, depth * 16 + type, site);
}
