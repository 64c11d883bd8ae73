//===- Functions.cpp - what images call of one thread ---------------------===//

#include "Functions.h"

#include "../Core/Clock.h"
#include "Execution.h"

#include <bit>
#include <cfenv>
#include <cmath>

using namespace cleave::simt;
using Touch = Execution::Touch;

static Execution &execution() { return Execution::get(); }

static void check(const void *address, uint64_t bytes, Touch touch, cleave_simt_site *site) {
  execution().check(reinterpret_cast<uint64_t>(address), bytes, touch, site);
}

uint32_t device::sreg(uint32_t which) { return execution().read(which); }

uint64_t device::clock() { return cleave::runtime::now(); }

void device::load(const void *address, cleave_simt_site *site) {
  execution().checkBanked(reinterpret_cast<uint64_t>(address), Touch::Read, site);
}

void device::store(void *address, cleave_simt_site *site) {
  execution().checkBanked(reinterpret_cast<uint64_t>(address), Touch::Write, site);
}

void device::atomic(void *address, cleave_simt_site *site) {
  check(address, site->bytes, Touch::Atomic, site);
}

void device::atomic_load(const void *address, cleave_simt_site *site) {
  check(address, site->bytes, Touch::AtomicRead, site);
}

/// A site of `bytes` that may lie anywhere.
static cleave_simt_site anywhere(const cleave_simt_site &site) {
  cleave_simt_site copy = site;
  copy.align = 1;
  return copy;
}

void device::copy(void *target, const void *source, uint64_t bytes, cleave_simt_site *site) {
  cleave_simt_site here = anywhere(*site);
  if (!bytes)
    return;
  check(source, bytes, Touch::Read, &here);
  check(target, bytes, Touch::Write, &here);
  memmove(target, source, bytes);
}

void device::fill(void *target, uint32_t value, uint64_t bytes, cleave_simt_site *site) {
  cleave_simt_site here = anywhere(*site);
  if (!bytes)
    return;
  check(target, bytes, Touch::Write, &here);
  memset(target, int(value), bytes);
}

uint32_t device::is_space(const void *pointer, uint32_t space) {
  uint64_t address = reinterpret_cast<uint64_t>(pointer);
  bool shared = execution().isShared(address), local = execution().isLocal(address);
  switch (space) {
  case CLEAVE_SIMT_SHARED: return shared;
  case CLEAVE_SIMT_LOCAL: return local;
  case CLEAVE_SIMT_GLOBAL: return !shared && !local;
  default: {
    Allocation *allocation = execution().memory.find(address, 1);
    return allocation && allocation->kind >= Allocation::Constant;
  }
  }
}

void device::barrier(uint32_t id, uint32_t numThreads, cleave_simt_site *site) {
  execution().arrive({id, numThreads, true, false, CLEAVE_SIMT_POPC}, site);
}

void device::barrier_arrive(uint32_t id, uint32_t numThreads, cleave_simt_site *site) {
  execution().arrive({id, numThreads, false, false, CLEAVE_SIMT_POPC}, site);
}

uint32_t device::barrier_reduce(uint32_t id, uint32_t numThreads, uint32_t predicate,
                                uint32_t operation, cleave_simt_site *site) {
  return execution().arrive({id, numThreads, true, predicate != 0, operation}, site);
}

void device::fence(uint32_t, cleave_simt_site *) { execution().fence(); }

void device::copy_async(void *target, const void *source, uint32_t bytes, uint32_t sourceBytes,
                        cleave_simt_site *site) {
  Copy copy = {static_cast<char *>(target), static_cast<const char *>(source), bytes, sourceBytes};
  execution().checkCopy(copy, site);
  if (!execution().schedule.shuffled)
    copy.perform();
  execution().self().open.push_back(copy);
}

void device::copy_commit() {
  Thread &thread = execution().self();
  thread.groups.push_back(std::move(thread.open));
  thread.open.clear();
}

void device::copy_wait(uint32_t groups) { execution().finishCopies(groups); }

void device::copy_wait_all() {
  copy_commit();
  execution().finishCopies(0);
}

void device::grid_wait() { execution().self().hasWaited = true; }

void device::sleep() { execution().yield(); }

void device::trap(cleave_simt_site *site) {
  execution().report("trap", site, "the program ends itself");
  execution().stop(Outcome::Trap);
}

void device::fail_assert(const char *message, const char *file, uint32_t line, const char *,
                         uint64_t, cleave_simt_site *site) {
  execution().report("assertion", site,
                     std::string(message) + ", " + file + ":" + std::to_string(line));
  execution().stop(Outcome::Assert);
}

/// Four of eight bytes; the highest bit of a digit repeats the sign of its byte.
uint32_t device::permute(uint32_t low, uint32_t high, uint32_t selector) {
  uint64_t bytes = uint64_t(high) << 32 | low;
  uint32_t result = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    uint32_t digit = selector >> (4 * i) & 15;
    uint32_t byte = uint32_t(bytes >> (8 * (digit & 7))) & 0xff;
    if (digit & 8)
      byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}

/// As the processor rounds now; volatile, as compilers know of one mode only.
template <typename Real> static Real operate(uint32_t operation, double a, double b, double c) {
  volatile Real x = Real(a), y = Real(b), z = Real(c), result;
  switch (operation) {
  case CLEAVE_SIMT_SUM: result = x + y; break;
  case CLEAVE_SIMT_PRODUCT: result = x * y; break;
  case CLEAVE_SIMT_FMA: result = std::fma(Real(x), Real(y), Real(z)); break;
  case CLEAVE_SIMT_QUOTIENT: result = x / y; break;
  default: result = std::sqrt(Real(x));
  }
  return result;
}

double device::directed(uint32_t operation, uint32_t mode, uint32_t single, double a, double b,
                        double c) {
  int before = fegetround();
  fesetround(mode == 'm' ? FE_DOWNWARD : mode == 'p' ? FE_UPWARD : FE_TOWARDZERO);
  double result = single ? operate<float>(operation, a, b, c) : operate<double>(operation, a, b, c);
  fesetround(before);
  return result;
}

uint32_t device::to_half(double x) { return std::bit_cast<uint16_t>(_Float16(x)); }
float device::exp2(float x) { return std::exp2(x); }
float device::log2(float x) { return std::log2(x); }
float device::sin(float x) { return std::sin(x); }
float device::cos(float x) { return std::cos(x); }
float device::tanh(float x) { return std::tanh(x); }
float device::remainder(float x, float y) { return std::fmod(x, y); }
double device::remainder_double(double x, double y) { return std::fmod(x, y); }
