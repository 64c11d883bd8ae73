//===- Digest.cpp - XXH3-128 of memory and of files -----------------------===//

#include "cleave/Runtime/ArtifactFormat.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <memory>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace cleave::runtime;

static constexpr size_t kReadBytes = size_t(1) << 20;
static constexpr uint64_t kSmallestBlock = uint64_t(1) << 20;
static constexpr uint64_t kMostBlocks = 1024;

Digest cleave::runtime::digestOf(const void *data, size_t bytes) {
  XXH128_hash_t hash = XXH3_128bits(data, bytes);
  return {hash.low64, hash.high64};
}

bool cleave::runtime::digestOfRange(int descriptor, uint64_t offset, uint64_t bytes,
                                    Digest &digest) {
  struct Free {
    void operator()(XXH3_state_t *state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state(XXH3_createState());
  auto buffer = std::make_unique_for_overwrite<char[]>(std::min<uint64_t>(bytes, kReadBytes));
  XXH3_128bits_reset(state.get());
  // Read, not mapped: a file that shrinks meanwhile is an answer and no signal.
  while (bytes) {
    ssize_t count =
        pread(descriptor, buffer.get(), std::min<uint64_t>(bytes, kReadBytes), off_t(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return false;
    XXH3_128bits_update(state.get(), buffer.get(), size_t(count));
    offset += uint64_t(count);
    bytes -= uint64_t(count);
  }
  XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  digest = {hash.low64, hash.high64};
  return true;
}

std::string cleave::runtime::digestText(const Digest &digest) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (uint64_t half : {digest.high, digest.low})
    for (int shift = 60; shift >= 0; shift -= 4)
      text += digits[half >> shift & 15];
  return text;
}

/// The blocks of [begin, end), without digests.
static std::vector<DigestBlock> cut(uint64_t begin, uint64_t end) {
  std::vector<DigestBlock> blocks;
  uint64_t step = std::max(kSmallestBlock, std::bit_ceil((end - begin) / kMostBlocks));
  for (; begin < end; begin += step)
    blocks.push_back({begin, std::min(step, end - begin), {}});
  return blocks;
}

static bool digestAll(int descriptor, std::vector<DigestBlock> &blocks) {
  return std::all_of(blocks.begin(), blocks.end(), [&](DigestBlock &block) {
    return digestOfRange(descriptor, block.offset, block.bytes, block.digest);
  });
}

bool cleave::runtime::digestBlocks(int descriptor, uint64_t begin, uint64_t end,
                                   std::vector<DigestBlock> &blocks) {
  blocks = cut(begin, end);
  return digestAll(descriptor, blocks);
}

bool cleave::runtime::digestSample(int descriptor, uint64_t bytes,
                                   std::vector<DigestBlock> &blocks) {
  std::vector<DigestBlock> all = cut(0, bytes);
  blocks.clear();
  for (size_t i : sampleBlocks(all, kSampleBytes))
    blocks.push_back(all[i]);
  return digestAll(descriptor, blocks);
}

Digest cleave::runtime::digestOf(const std::vector<DigestBlock> &blocks) {
  std::vector<uint64_t> halves;
  for (const DigestBlock &block : blocks)
    halves.insert(halves.end(), {block.digest.low, block.digest.high});
  return digestOf(halves.data(), halves.size() * sizeof(uint64_t));
}

std::vector<size_t> cleave::runtime::sampleBlocks(const std::vector<DigestBlock> &blocks,
                                                  uint64_t budget) {
  uint64_t largest = 1;
  for (const DigestBlock &block : blocks)
    largest = std::max(largest, block.bytes);
  size_t wanted = std::max<size_t>(2, budget / largest), count = blocks.size();
  std::vector<size_t> sample;
  if (count <= wanted) {
    for (size_t i = 0; i < count; ++i)
      sample.push_back(i);
    return sample;
  }
  for (size_t i = 0; i < wanted; ++i)
    sample.push_back(i * (count - 1) / (wanted - 1));
  return sample;
}
