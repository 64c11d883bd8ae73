//===- WarpGroups.cpp - products of four warps ----------------------------===//
//
// Each warp computes 16 of the 64 rows. Operands lie in shared memory as descriptors say
// (PTX ISA, "Asynchronous Warpgroup Level Matrix Shared Memory Layout"): in cores of 8 rows
// of 16 bytes, 1, 2, 4 or 8 of them side by side and swizzled over that span. Values are
// read when a product begins; that others leave them alone until a wait is what the notes
// in the shadow are for.
//
//===----------------------------------------------------------------------===//

#include "Elements.h"
#include "Execution.h"
#include "Functions.h"
#include "TensorMap.h"

#include <algorithm>
#include <memory>

using namespace cleave::simt;

Clock Execution::commonKnowledge(uint32_t warp) const {
  Clock common;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const Thread &thread = threads[warp * 32 + lane];
    Clock own = thread.known ? *thread.known : Clock();
    own.resize(threads.size() + workers.size());
    own[thread.index] = uint32_t(thread.now.epoch);
    if (!lane)
      common = std::move(own);
    else
      for (size_t i = 0; i < common.size(); ++i)
        common[i] = std::min(common[i], own[i]);
  }
  return common;
}

void Execution::step(const WarpGroup::Step &step) {
  uint32_t warp = self().warp;
  WarpGroup &group = warpGroups[warp / 4];
  if (warp / 4 * 4 + 4 > warps.size())
    diverged(step.site, "it wants four warps, and the block has no whole group here");
  uint64_t &done = group.done[warp % 4];
  if (done - group.first == group.steps.size())
    group.steps.push_back(step);
  else if (const WarpGroup::Step &other = group.steps[done - group.first]; !(other == step))
    diverged(step.site, std::string("another warp of its group does ") + other.site->what +
                            " at [" + other.site->place +
                            (other.site == step.site ? "] with other descriptors" : "] instead"));
  ++done;
  while (*std::min_element(group.done.begin(), group.done.end()) > group.first) {
    group.steps.pop_front();
    ++group.first;
  }
}

namespace {

/// An operand in shared memory.
struct Descriptor {
  uint64_t start, leading, stride;
  uint32_t swizzle, base; ///< bits of addresses that are changed; offset of its pattern

  explicit Descriptor(uint64_t bits)
      : start((bits & 0x3fff) << 4), leading((bits >> 16 & 0x3fff) << 4),
        stride((bits >> 32 & 0x3fff) << 4), swizzle(bits >> 62 ? 4 - uint32_t(bits >> 62) : 0),
        base(bits >> 49 & 7) {}

  /// Whether the pattern begins where it repeats; elsewhere nothing tells what it is.
  bool isAligned() const { return !base && !(start >> 7 & ((1u << swizzle) - 1)); }

  /// 16 bytes of row `row`, whose k lie together.
  uint64_t byRows(uint64_t row, uint64_t chunk) const {
    uint64_t at = start + row % 8 * (16u << swizzle) + row / 8 * stride;
    return TensorMap::swizzledBy(at + chunk * (swizzle ? 16 : leading), swizzle);
  }

  /// 8 rows of 2 bytes from `chunk` times 8 on, which lie together for each k.
  uint64_t byColumns(uint64_t chunk, uint64_t k) const {
    uint64_t side = uint64_t(1) << swizzle, outer = chunk / side, block = k / 8;
    uint64_t at = start + chunk % side * 16 + k % 8 * (16 * side);
    at += swizzle ? outer * leading + block * stride : outer * stride + block * leading;
    return TensorMap::swizzledBy(at, swizzle);
  }
};

struct Product {
  uint32_t *sums;
  const uint32_t *left;
  uint64_t leftDescriptor, rightDescriptor;
  uint32_t columns, type, flags;
  uint32_t id = 0;
};

constexpr uint64_t nobody = ~uint64_t(0);

/// What one warp does of a product.
template <typename Sum> class WarpProduct {
public:
  WarpProduct(Execution &execution, Gathering &gathering)
      : execution(execution), gathering(gathering), first(product(0)),
        site(const_cast<cleave_simt_site *>(gathering.site)),
        known(execution.commonKnowledge(gathering.warp)), per(elementsOf(first.type)),
        depth(8 * per) {}

  void multiply(Products &products) {
    agent = {products.worker, products.committed + 1, &known, nobody};
    auto a = std::make_unique<Sum[]>(16 * depth);
    auto b = std::make_unique<Sum[]>(depth * first.columns);
    if (first.left)
      readRegisters(a.get());
    else
      readShared(Descriptor(first.leftDescriptor), gathering.warp % 4 * 16, 16, leftOf(first.type),
                 first.flags & CLEAVE_SIMT_LEFT_BY_COLUMNS,
                 [&](uint64_t row, uint64_t k, Sum value) { a[row * depth + k] = value; });
    readShared(Descriptor(first.rightDescriptor), 0, first.columns, rightOf(first.type),
               first.flags & CLEAVE_SIMT_RIGHT_BY_ROWS,
               [&](uint64_t row, uint64_t k, Sum value) { b[k * first.columns + row] = value; });
    bool negates = bool(first.flags & CLEAVE_SIMT_NEGATES_LEFT) !=
                   bool(first.flags & CLEAVE_SIMT_NEGATES_RIGHT);
    auto c = std::make_unique<Sum[]>(16 * first.columns);
    if (first.flags & CLEAVE_SIMT_ADDS)
      eachSum([&](uint64_t at, uint32_t &sum) { c[at] = std::bit_cast<Sum>(sum); });
    for (uint64_t i = 0; i < 16; ++i)
      for (uint64_t k = 0; k < depth; ++k) {
        Sum factor = negates ? -a[i * depth + k] : a[i * depth + k];
        const Sum *row = &b[k * first.columns];
        Sum *out = &c[i * first.columns];
        for (uint64_t j = 0; j < first.columns; ++j)
          out[j] += factor * row[j];
      }
    eachSum([&](uint64_t at, uint32_t &sum) { sum = std::bit_cast<uint32_t>(c[at]); });
  }

private:
  Product &product(uint32_t lane) const { return *static_cast<Product *>(gathering.slots[lane]); }

  /// Rows from `begin` on, as elements of row and k.
  template <typename Act>
  void readShared(const Descriptor &from, uint64_t begin, uint64_t count, uint32_t type,
                  bool byColumns, Act &&act) {
    if (!from.isAligned())
      execution.diverged(site, "a descriptor begins at shared memory+" +
                                   std::to_string(from.start) + ", where its swizzle of " +
                                   std::to_string(16u << from.swizzle) + " bytes does not");
    auto read = [&](uint64_t offset) {
      uint64_t address = execution.shared() + offset;
      execution.touch(address, 16, /*write=*/false, agent, site);
      return reinterpret_cast<const uint32_t *>(address);
    };
    for (uint64_t row = 0; !byColumns && row < count; ++row)
      for (uint64_t chunk = 0; chunk < 2; ++chunk) {
        const uint32_t *words = read(from.byRows(begin + row, chunk));
        for (uint32_t i = 0; i < 4 * per; ++i)
          act(row, chunk * 4 * per + i, element<Sum>(type, words[i / per], i % per));
      }
    for (uint64_t chunk = 0; byColumns && chunk < count / 8; ++chunk)
      for (uint64_t k = 0; k < depth; ++k) {
        const uint32_t *words = read(from.byColumns(begin / 8 + chunk, k));
        for (uint32_t i = 0; i < 8; ++i)
          act(chunk * 8 + i, k, element<Sum>(type, words[i / 2], i % 2));
      }
  }

  void readRegisters(Sum *a) const {
    for (uint32_t lane = 0; lane < 32; ++lane)
      for (uint32_t r = 0; r < 4; ++r)
        for (uint32_t e = 0; e < per; ++e)
          a[(lane / 4 + 8 * (r % 2)) * depth + lane % 4 * per + e + r / 2 * 4 * per] =
              element<Sum>(leftOf(first.type), product(lane).left[r], e);
  }

  /// Calls `act` with the place of each sum, and where a lane has it.
  template <typename Act> void eachSum(Act &&act) const {
    for (uint32_t lane = 0; lane < 32; ++lane)
      for (uint32_t i = 0; i < first.columns / 2; ++i)
        act((lane / 4 + i / 2 % 2 * 8) * first.columns + i / 4 * 8 + lane % 4 * 2 + i % 2,
            product(lane).sums[i]);
  }

  Execution &execution;
  Gathering &gathering;
  const Product &first;
  cleave_simt_site *site;
  Clock known;
  uint64_t per, depth;
  Execution::Agent agent{};
};

} // namespace

static Products &productsOf(Execution &execution) {
  return execution.warpOf(execution.self()).products;
}

static void finishProduct(Execution &execution, Gathering &gathering) {
  auto product = [&](uint32_t lane) -> Product & {
    return *static_cast<Product *>(gathering.slots[lane]);
  };
  const Product &first = product(0);
  for (uint32_t lane = 1; lane < 32; ++lane)
    if (product(lane).leftDescriptor != first.leftDescriptor ||
        product(lane).rightDescriptor != first.rightDescriptor)
      execution.diverged(gathering.site, "lanes have different descriptors");
  execution.step({gathering.site, first.leftDescriptor, first.rightDescriptor});
  Products &products = productsOf(execution);
  if (!products.fenced && (first.left || !(first.flags & CLEAVE_SIMT_FOLLOWS)))
    execution.report("order", gathering.site,
                     "there is no wgmma.fence between it and what has touched its registers");
  if (!products.worker)
    products.worker = execution.addWorker("a product of warp " + std::to_string(gathering.warp));
  if (isOfIntegers(first.type))
    WarpProduct<int32_t>(execution, gathering).multiply(products);
  else
    WarpProduct<float>(execution, gathering).multiply(products);
  for (uint32_t lane = 0; lane < 32; ++lane)
    product(lane).id = products.committed + 1;
}

uint32_t device::group_multiply(uint32_t *sums, const uint32_t *left, uint64_t leftDescriptor,
                                uint64_t rightDescriptor, uint32_t columns, uint32_t type,
                                uint32_t flags, cleave_simt_site *site) {
  Product product{sums, left, leftDescriptor, rightDescriptor, columns, type, flags};
  Execution::get().meetAll(&product, finishProduct, uint64_t(flags) << 32 | type << 16 | columns,
                           site);
  return product.id;
}

void device::group_fence(cleave_simt_site *site) {
  auto finish = [](Execution &execution, Gathering &gathering) {
    execution.step({gathering.site, 0, 0});
    productsOf(execution).fenced = true;
  };
  Execution::get().meetAll(nullptr, finish, 0, site);
}

void device::group_commit(cleave_simt_site *site) {
  auto finish = [](Execution &execution, Gathering &gathering) {
    execution.step({gathering.site, 0, 0});
    Products &products = productsOf(execution);
    ++products.committed;
  };
  Execution::get().meetAll(nullptr, finish, 0, site);
}

void device::group_wait(uint32_t groups, cleave_simt_site *site) {
  auto finish = [](Execution &execution, Gathering &gathering) {
    uint32_t groups = uint32_t(gathering.detail);
    execution.step({gathering.site, 0, 0});
    Products &products = productsOf(execution);
    products.waited =
        std::max(products.waited, products.committed - std::min(products.committed, groups));
    products.fenced = false;
    if (products.worker)
      for (uint32_t lane = 0; lane < 32; ++lane)
        execution.learn(execution.threadOf(gathering.warp, lane), products.worker, products.waited);
  };
  Execution::get().meetAll(nullptr, finish, groups, site);
}

void device::group_use(uint32_t sums, cleave_simt_site *site) {
  Execution &execution = Execution::get();
  if (sums > productsOf(execution).waited)
    execution.report("order", site, "it uses sums of a product that is not waited for");
}
