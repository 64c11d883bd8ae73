//===- Nccl.cpp - NCCL's functions ----------------------------------------===//

#include "Cliques.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

using namespace cleave::simt;
using cleave::runtime::randomBytes;

static constexpr size_t mostCalls = 1 << 16;

namespace {

/// All communicators of this process, under the lock of the driver.
struct Registry {
  std::unordered_map<ncclComm_t, std::shared_ptr<ncclComm>> comms;
  std::map<std::string, std::weak_ptr<World>> worlds; ///< by what their id says
  /// By world and key.
  std::map<std::pair<World *, uint64_t>, std::weak_ptr<Clique>> cliques;
  std::set<void *> memory; ///< that may be in windows
};

/// A call of a group that is not over.
struct Pending {
  std::shared_ptr<ncclComm> comm;
  CUstream stream;
  Call call;
};

struct Id {
  char mark[16];
  char name[16];
};

} // namespace

static constexpr char idMark[16] = "cleave-simt";
static thread_local int groupDepth = 0;
static thread_local std::vector<Pending> pending;

static Registry &registry() {
  static Registry *registry = new Registry;
  return *registry;
}

template <typename Body> static ncclResult_t locked(Body &&body) {
  Driver &driver = Driver::get();
  std::lock_guard lock(driver.mutex);
  if (!driver.isReady())
    return ncclUnhandledCudaError;
  return body(driver);
}

template <typename Body> static ncclResult_t onComm(ncclComm_t comm, Body &&body) {
  return locked([&](Driver &driver) {
    auto found = registry().comms.find(comm);
    return found == registry().comms.end() ? ncclInvalidArgument : body(driver, found->second);
  });
}

ncclResult_t ncclGetVersion(int *version) {
  if (!version)
    return ncclInvalidArgument;
  *version = Driver::get().ncclVersion;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *unique) {
  return locked([&](Driver &) {
    if (!unique)
      return ncclInvalidArgument;
    Id id = {};
    memcpy(id.name, randomBytes(sizeof id.name).data(), sizeof id.name);
    memcpy(id.mark, idMark, sizeof id.mark);
    memset(unique, 0, sizeof *unique);
    memcpy(unique, &id, sizeof id);
    return ncclSuccess;
  });
}

/// All members of this process have one.
static std::shared_ptr<Clique> cliqueOf(const std::shared_ptr<World> &world, uint64_t key,
                                        const std::vector<int> &ranks) {
  std::weak_ptr<Clique> &known = registry().cliques[{world.get(), key}];
  std::shared_ptr<Clique> clique = known.lock();
  if (!clique)
    known = clique = std::make_shared<Clique>(*world, key, ranks);
  return clique;
}

static ncclComm_t keep(std::shared_ptr<ncclComm> comm) {
  ncclComm_t handle = comm.get();
  registry().comms[handle] = std::move(comm);
  return handle;
}

/// Blocking calls would wait for other threads under the lock.
static bool isKnown(const ncclConfig_t *config) { return config && config->blocking == 0; }

ncclResult_t ncclCommInitRankConfig(ncclComm_t *result, int size, ncclUniqueId unique, int rank,
                                    ncclConfig_t *config) {
  return locked([&](Driver &) {
    Id id;
    memcpy(&id, &unique, sizeof id);
    if (!result || rank < 0 || rank >= size || !Driver::current ||
        memcmp(id.mark, idMark, sizeof id.mark))
      return ncclInvalidArgument;
    if (!isKnown(config))
      return ncclInvalidUsage;
    std::string name;
    for (char part : id.name)
      for (int digit : {part >> 4 & 15, part & 15})
        name += "0123456789abcdef"[digit];
    std::weak_ptr<World> &known = registry().worlds[name];
    std::shared_ptr<World> world = known.lock();
    if (!world)
      known = world = std::make_shared<World>(name, size);
    if (world->size() != size || !world->add(rank, Driver::current->number))
      return ncclInvalidUsage;
    std::vector<int> ranks(static_cast<size_t>(size));
    std::iota(ranks.begin(), ranks.end(), 0);
    auto comm = std::make_shared<ncclComm>();
    comm->clique = cliqueOf(world, 0, ranks);
    comm->world = std::move(world);
    comm->rank = rank;
    comm->context = Driver::current;
    *result = keep(std::move(comm));
    return ncclInProgress;
  });
}

/// Where all have called, the ranks of a colour are in the order of their keys, then as
/// they were.
static void endSplits(ncclComm &comm) {
  std::map<int, std::map<std::pair<int, int>, int>> colours;
  while (!comm.splits.empty() && comm.clique->takeSplit(comm.rank, colours)) {
    ncclComm::Split split = std::move(comm.splits.front());
    comm.splits.pop_front();
    std::vector<int> ranks;
    for (auto [key, rank] : colours[split.colour]) {
      if (split.made && key.second == comm.rank)
        split.made->rank = int(ranks.size());
      ranks.push_back(rank);
    }
    // The same for all of a colour, and for no other clique.
    uint64_t key = comm.clique->key;
    for (uint64_t part : {split.number, uint64_t(split.colour) + 1})
      key = (key + part) * 0x9e3779b97f4a7c15u + (key >> 29);
    if (split.made)
      split.made->clique = cliqueOf(comm.world, key, ranks);
    colours.clear();
  }
}

/// Whether all have called what made the communicator, and what it was last asked for.
static bool isReady(ncclComm &comm) {
  bool whole = comm.world->isWhole();
  if (comm.clique) {
    endSplits(comm);
    comm.clique->progress();
  }
  return whole && comm.clique && comm.splits.empty() && !*comm.opening;
}

ncclResult_t ncclCommSplit(ncclComm_t parent, int colour, int key, ncclComm_t *result,
                           ncclConfig_t *config) {
  return onComm(parent, [&](Driver &, const std::shared_ptr<ncclComm> &comm) {
    if (!result || colour < NCCL_SPLIT_NOCOLOR)
      return ncclInvalidArgument;
    if (!isKnown(config) || comm->aborted || !isReady(*comm))
      return ncclInvalidUsage;
    std::shared_ptr<ncclComm> made;
    if (colour != NCCL_SPLIT_NOCOLOR) {
      made = std::make_shared<ncclComm>();
      made->context = comm->context;
      made->world = comm->world;
    }
    *result = made ? keep(made) : nullptr;
    comm->splits.push_back({colour, ++comm->numSplits, std::move(made)});
    comm->clique->split(comm->rank, colour, key);
    return ncclInProgress;
  });
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t *state) {
  return onComm(handle, [&](Driver &, const std::shared_ptr<ncclComm> &comm) {
    if (!state)
      return ncclInvalidArgument;
    bool ready = isReady(*comm);
    *state = comm->world->isShared() ? ncclInvalidUsage
             : comm->world->isLost() ? ncclRemoteError
             : ready                 ? ncclSuccess
                                     : ncclInProgress;
    return ncclSuccess;
  });
}

static void note(const ncclComm &comm, size_t bytes, const char *what) {
  std::string line = "registration: memory of " + std::to_string(bytes) + " bytes of rank " +
                     std::to_string(comm.rank) + " in a clique of " +
                     std::to_string(comm.clique->size()) + " " + what;
  Execution::get().findings.add(line, line);
}

/// What this rank waits for is over; others have to abort too. What a GPU may yet use that
/// was at work when the host last asked cannot be given back before.
ncclResult_t ncclCommAbort(ncclComm_t handle) {
  return onComm(handle, [&](Driver &driver, const std::shared_ptr<ncclComm> &comm) {
    bool idle = std::all_of(driver.streams.begin(), driver.streams.end(), [&](const auto &one) {
      const CUstream_st &stream = *one.second;
      return stream.context != comm->context || (stream.queue.empty() && !stream.atWork);
    });
    for (const auto &[number, registration] : comm->registered)
      if (idle)
        note(*comm, registration.bytes, "is still registered where the communicator ends");
    comm->aborted = true;
    if (comm->clique)
      comm->clique->remove(comm->rank);
    if (comm->clique && !comm->clique->key)
      comm->world->remove(comm->rank);
    registry().comms.erase(handle);
    return ncclSuccess;
  });
}

const char *ncclGetErrorString(ncclResult_t result) {
  static const char *const texts[] = {"no error",
                                      "unhandled cuda error",
                                      "unhandled system error",
                                      "internal error",
                                      "invalid argument",
                                      "invalid usage",
                                      "remote process exited or there was a network error",
                                      "NCCL operation in progress"};
  return size_t(result) < std::size(texts) ? texts[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t) { return "the simulator keeps no text"; }

/// The memory of a call has to be the device's, and to stay so.
static bool isThere(const ncclComm &comm, const void *address, size_t bytes) {
  Allocation *allocation = Execution::get().memory.find(reinterpret_cast<uint64_t>(address), bytes);
  return !bytes || (allocation && allocation->kind == Allocation::Device &&
                    allocation->device == comm.context->device);
}

static void touch(const Call &call, int rank, int size) {
  Execution &execution = Execution::get();
  auto in = reinterpret_cast<uint64_t>(call.input), out = reinterpret_cast<uint64_t>(call.output);
  size_t bytesIn = call.bytesIn(rank, size), bytesOut = call.bytesOut(rank, size);
  if (bytesIn)
    execution.touch(in, bytesIn, /*write=*/false, "NCCL");
  if (bytesIn && !execution.memory.isWritten(in, bytesIn)) {
    std::string line = "uninitialised: " + call.text() + ", of which some bytes were never written";
    execution.findings.add(line, line);
  }
  if (bytesOut) {
    execution.touch(out, bytesOut, /*write=*/true, "NCCL");
    execution.memory.setWritten(out, bytesOut);
  }
}

/// What one stream is to do for one communicator: to arrive, and to wait.
static ncclResult_t enqueue(Driver &driver, const std::shared_ptr<ncclComm> &comm, CUstream stream,
                            std::vector<Call> calls) {
  CUstream known = driver.streamOf(stream);
  if (!known || known->context != comm->context)
    return ncclInvalidUsage;
  auto open = std::make_shared<size_t>(0);
  int size = comm->clique->size();
  CUresult result = driver.enqueue(known, [=] {
    *open = calls.size();
    for (const Call &call : calls) {
      if (!isThere(*comm, call.input, call.bytesIn(comm->rank, size)) ||
          !isThere(*comm, call.output, call.bytesOut(comm->rank, size)))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
      if (!comm->aborted)
        comm->clique->arrive(comm->rank, call, open);
    }
    return CUDA_SUCCESS;
  });
  if (result == CUDA_SUCCESS)
    result = driver.enqueue(
        known,
        [=] {
          for (const Call &call : calls)
            if (!comm->aborted)
              touch(call, comm->rank, size);
          return CUDA_SUCCESS;
        },
        [=] {
          if (comm->world->isRemote() && !comm->aborted) {
            comm->world->pump();
            comm->clique->progress();
          }
          return comm->aborted || (!*open && comm->world->isFlushed());
        });
  return result == CUDA_SUCCESS ? ncclSuccess : ncclUnhandledCudaError;
}

static void *enroll(ncclComm &comm, ncclComm::Registration registration) {
  for (const auto &[number, other] : comm.registered)
    if (registration.data < other.data + other.bytes &&
        other.data < registration.data + registration.bytes)
      note(comm, registration.bytes, "is registered twice");
  static uintptr_t numbers = 0;
  void *number = reinterpret_cast<void *>(++numbers);
  comm.registered[number] = registration;
  return number;
}

static ncclResult_t dismiss(ncclComm_t handle, void *number, bool isWindow) {
  return onComm(handle, [&](Driver &, const std::shared_ptr<ncclComm> &comm) {
    auto found = comm->registered.find(number);
    if (found == comm->registered.end() || found->second.isWindow != isWindow) {
      note(*comm, 0, "is given back without a registration");
      return ncclInvalidArgument;
    }
    comm->registered.erase(found);
    return ncclSuccess;
  });
}

ncclResult_t ncclCommRegister(const ncclComm_t handle, void *data, size_t bytes, void **result) {
  return onComm(handle, [&](Driver &, const std::shared_ptr<ncclComm> &comm) {
    if (!result || !bytes || !isReady(*comm) || !isThere(*comm, data, bytes))
      return ncclInvalidArgument;
    *result = enroll(*comm, {static_cast<char *>(data), bytes, false, false});
    return ncclSuccess;
  });
}

ncclResult_t ncclCommDeregister(const ncclComm_t handle, void *number) {
  return dismiss(handle, number, /*isWindow=*/false);
}

ncclResult_t ncclMemAlloc(void **result, size_t bytes) {
  CUdeviceptr address = 0;
  if (!result || cuMemAlloc(&address, bytes))
    return result ? ncclUnhandledCudaError : ncclInvalidArgument;
  return locked([&](Driver &) {
    *result = reinterpret_cast<void *>(address);
    registry().memory.insert(*result);
    return ncclSuccess;
  });
}

ncclResult_t ncclMemFree(void *data) {
  ncclResult_t result = locked(
      [&](Driver &) { return registry().memory.erase(data) ? ncclSuccess : ncclInvalidArgument; });
  bool isFree = result || cuMemFree(reinterpret_cast<CUdeviceptr>(data)) == CUDA_SUCCESS;
  return isFree ? result : ncclUnhandledCudaError;
}

/// All ranks have to open one, equally large.
ncclResult_t ncclCommWindowRegister(ncclComm_t handle, void *data, size_t bytes,
                                    ncclWindow_t *result, int flags) {
  constexpr uintptr_t alignment = NCCL_WIN_REQUIRED_ALIGNMENT;
  return onComm(handle, [&](Driver &, const std::shared_ptr<ncclComm> &comm) {
    if (!result || !bytes || (flags & ~NCCL_WIN_COLL_SYMMETRIC) || !isReady(*comm) ||
        !isThere(*comm, data, bytes) || reinterpret_cast<uintptr_t>(data) % alignment)
      return ncclInvalidArgument;
    if (!registry().memory.count(data))
      return ncclUnhandledCudaError;
    bool isSymmetric = flags & NCCL_WIN_COLL_SYMMETRIC;
    *result = static_cast<ncclWindow_t>(
        enroll(*comm, {static_cast<char *>(data), bytes, true, isSymmetric}));
    ++*comm->opening;
    Call call = {Call::Window, nullptr, nullptr, bytes, ncclInt8, ncclSum, 0};
    comm->clique->arrive(comm->rank, call, comm->opening);
    return ncclInProgress;
  });
}

ncclResult_t ncclCommWindowDeregister(ncclComm_t handle, ncclWindow_t window) {
  return dismiss(handle, window, /*isWindow=*/true);
}

ncclResult_t ncclGroupStart() {
  ++groupDepth;
  return ncclSuccess;
}

/// Calls of a group on one communicator and stream go on together.
ncclResult_t ncclGroupEnd() {
  if (!groupDepth)
    return ncclInvalidUsage;
  if (--groupDepth)
    return ncclSuccess;
  std::vector<Pending> calls = std::move(pending);
  pending.clear();
  return locked([&](Driver &driver) {
    ncclResult_t result = ncclSuccess;
    for (size_t i = 0; i < calls.size() && result == ncclSuccess; ++i) {
      std::vector<Call> together;
      for (size_t j = i; j < calls.size(); ++j)
        if (calls[i].comm && calls[j].comm == calls[i].comm && calls[j].stream == calls[i].stream) {
          together.push_back(calls[j].call);
          if (j > i)
            calls[j].comm = nullptr;
        }
      if (!together.empty())
        result = enqueue(driver, calls[i].comm, calls[i].stream, std::move(together));
    }
    return result;
  });
}

/// What is in a symmetric window has to lie at one place in those of all.
static size_t placeOf(const ncclComm &comm, const Call &call, const void *address) {
  bool isCollective = call.kind == Call::AllReduce || call.kind == Call::AllGather ||
                      call.kind == Call::ReduceScatter;
  for (const auto &[number, registration] : comm.registered)
    if (isCollective && registration.isSymmetric && registration.holds(address))
      return size_t(static_cast<const char *>(address) - registration.data);
  return Call::nowhere;
}

static ncclResult_t add(ncclComm_t handle, CUstream stream, Call call) {
  ncclResult_t result = onComm(handle, [&](Driver &, const std::shared_ptr<ncclComm> &comm) {
    if (!comm->clique || comm->aborted)
      return ncclInvalidUsage;
    int size = comm->clique->size();
    bool reduces = call.kind == Call::AllReduce || call.kind == Call::ReduceScatter ||
                   call.kind == Call::Reduce;
    // Averages, and sums of eight bits, are not known.
    if (call.root < 0 || call.root >= size || call.type < 0 || call.type >= ncclNumTypes ||
        (reduces && (call.reduction > ncclMin || call.type > ncclBfloat16)) ||
        !isThere(*comm, call.input, call.bytesIn(comm->rank, size)) ||
        !isThere(*comm, call.output, call.bytesOut(comm->rank, size)))
      return ncclInvalidArgument;
    if (pending.size() >= mostCalls)
      return ncclInternalError;
    call.inputAt = placeOf(*comm, call, call.input);
    call.outputAt = placeOf(*comm, call, call.output);
    pending.push_back({comm, stream, call});
    return ncclSuccess;
  });
  if (result != ncclSuccess || groupDepth)
    return result;
  ncclGroupStart();
  return ncclGroupEnd();
}

ncclResult_t ncclAllReduce(const void *input, void *output, size_t count, ncclDataType_t type,
                           ncclRedOp_t reduction, ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Call::AllReduce, input, output, count, type, reduction, 0});
}

ncclResult_t ncclReduce(const void *input, void *output, size_t count, ncclDataType_t type,
                        ncclRedOp_t reduction, int root, ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Call::Reduce, input, output, count, type, reduction, root});
}

ncclResult_t ncclReduceScatter(const void *input, void *output, size_t count, ncclDataType_t type,
                               ncclRedOp_t reduction, ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Call::ReduceScatter, input, output, count, type, reduction, 0});
}

ncclResult_t ncclAllGather(const void *input, void *output, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Call::AllGather, input, output, count, type, ncclSum, 0});
}

ncclResult_t ncclBroadcast(const void *input, void *output, size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Call::Broadcast, input, output, count, type, ncclSum, root});
}

ncclResult_t ncclSend(const void *input, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Call::Send, input, nullptr, count, type, ncclSum, peer});
}

ncclResult_t ncclRecv(void *output, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add(comm, stream, {Call::Recv, nullptr, output, count, type, ncclSum, peer});
}
