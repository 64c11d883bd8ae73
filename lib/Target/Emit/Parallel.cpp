//===- Parallel.cpp - kernels are compiled side by side -------------------===//

#include "Parallel.h"

#include <atomic>
#include <thread>
#include <vector>

using namespace mlir;

namespace {

/// Lets several threads build IR in one context while it lives.
struct SharedContext {
  explicit SharedContext(MLIRContext &context)
      : context(context), wasShared(context.isMultithreadingEnabled()) {
    if (!wasShared)
      context.enableMultithreading();
  }
  ~SharedContext() {
    if (!wasShared)
      context.disableMultithreading();
  }
  MLIRContext &context;
  bool wasShared;
};

} // namespace

LogicalResult cleave::emit::forAll(MLIRContext &context, size_t count, unsigned threads,
                                   function_ref<LogicalResult(size_t)> work) {
  SharedContext shared(context);
  if (threads == 0)
    threads = std::thread::hardware_concurrency();
  std::atomic<size_t> next = 0;
  std::atomic<bool> isFine = true;
  auto worker = [&] {
    for (size_t i = next++; i < count; i = next++)
      if (failed(work(i)))
        isFine = false;
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < std::min<size_t>(threads, count); ++i)
    others.emplace_back(worker);
  worker();
  for (std::thread &thread : others)
    thread.join();
  return success(isFine);
}
