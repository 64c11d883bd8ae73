//===- Cliques.cpp - the communicators of a program -----------------------===//

#include "Cliques.h"

#include "../Comm/Communicator.h"

#include <algorithm>
#include <utility>

using namespace cleave::runtime;

Cliques::Cliques(const Nccl &nccl, const Driver &driver, const cleave_program &program,
                 uint32_t firstRank, std::vector<Seat> seats, uint32_t deadlineMs)
    : nccl(nccl), driver(driver), program(program), groups(program), firstRank(firstRank),
      seats(std::move(seats)), deadlineMs(deadlineMs) {}

/// False for what NCCL does not reduce. Of bools, sum and max are `or`, the others `and`.
static bool typeOf(uint8_t type, ncclDataType_t &its) {
  switch (type) {
  case CLEAVE_F32: its = ncclFloat32; return true;
  case CLEAVE_F16: its = ncclFloat16; return true;
  case CLEAVE_BF16: its = ncclBfloat16; return true;
  case CLEAVE_F64: its = ncclFloat64; return true;
  case CLEAVE_I8: its = ncclInt8; return true;
  case CLEAVE_I32: its = ncclInt32; return true;
  case CLEAVE_I64: its = ncclInt64; return true;
  case CLEAVE_BOOL:
  case CLEAVE_U8: its = ncclUint8; return true;
  case CLEAVE_U32: its = ncclUint32; return true;
  case CLEAVE_U64: its = ncclUint64; return true;
  }
  return false;
}

static ncclRedOp_t reductionOf(const cleave_command &command) {
  bool isBool = command.type == CLEAVE_BOOL;
  switch (command.reduction) {
  case CLEAVE_SUM: return isBool ? ncclMax : ncclSum;
  case CLEAVE_MAX: return ncclMax;
  case CLEAVE_MIN: return ncclMin;
  default: return isBool ? ncclMin : ncclProd;
  }
}

/// Calls `act` with every command of every rank, in one order.
template <typename Act> static void eachCommand(const cleave_program &program, Act act) {
  for (uint32_t r = 0; r < program.num_ranks; ++r)
    for (bool load : {true, false})
      for (const cleave_command &command : listOf(program, r, load))
        act(r, command);
}

std::string Cliques::missingIn(const cleave_program &program) {
  std::string missing;
  eachCommand(program, [&](uint32_t, const cleave_command &command) {
    ncclDataType_t type;
    if (isReducing(command.op) && !typeOf(command.type, type))
      missing = std::string("NCCL reduces no ") + cleave_type_name(command.type);
  });
  return missing;
}

/// The first error, or ncclInProgress, of calls that do not block.
static ncclResult_t worse(const Nccl &nccl, ncclResult_t worst, ncclComm_t comm) {
  ncclResult_t state = ncclSuccess;
  if (comm)
    if (ncclResult_t result = nccl.ncclCommGetAsyncError(comm, &state))
      state = result;
  bool isBetter = worst == ncclSuccess || worst == ncclInProgress;
  return state != ncclSuccess && isBetter ? state : worst;
}

/// Until all calls on these communicators have ended.
bool Cliques::await(std::vector<const List *> lists, ncclResult_t result, Waiter &waiter,
                    cleave_error *error) {
  struct AllEnd final : Condition {
    bool holds() noexcept override {
      result = ncclSuccess;
      for (const List *list : *lists)
        for (ncclComm_t comm : *list)
          result = worse(*nccl, result, comm);
      return result != ncclInProgress;
    }
    const Nccl *nccl;
    const std::vector<const List *> *lists;
    ncclResult_t result = ncclSuccess;
  } end;
  end.nccl = &nccl;
  end.lists = &lists;
  if (result == ncclSuccess || result == ncclInProgress) {
    Wake wake = waiter.waitUntil(end);
    if (wake == Wake::Late)
      fail(error, CLEAVE_REFUSED, "NCCL does not connect %u GPUs within %u ms", program.num_ranks,
           deadlineMs);
    if (wake != Wake::Ready)
      return false;
    result = end.result;
  }
  if (result == ncclSuccess)
    return true;
  fail(error, CLEAVE_REFUSED,
       "NCCL does not connect %u GPUs: %s, %.400s; NCCL_DEBUG=INFO says more", program.num_ranks,
       nccl.ncclGetErrorString(result), nccl.ncclGetLastError(nullptr));
  return false;
}

static ncclConfig_t configuration() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return config;
}

/// Calls that belong together, one for each rank of this process.
template <typename Call> ncclResult_t Cliques::callAll(Call call) {
  ncclResult_t result = nccl.ncclGroupStart();
  for (uint32_t i = 0; i < seats.size() && result == ncclSuccess; ++i) {
    driver.cuCtxSetCurrent(seats[i].context);
    ncclResult_t own = call(i);
    result = own == ncclInProgress ? ncclSuccess : own;
  }
  ncclResult_t end = nccl.ncclGroupEnd();
  return result == ncclSuccess ? end : result;
}

/// One split of all ranks: each with its colour and key.
bool Cliques::split(List &into, const std::vector<std::pair<int, int>> &colours, Waiter &waiter,
                    cleave_error *error) {
  into.assign(seats.size(), nullptr);
  ncclConfig_t config = configuration();
  ncclResult_t result = callAll([&](uint32_t i) {
    auto [colour, key] = colours[firstRank + i];
    return nccl.ncclCommSplit(world[i], colour, key, &into[i], &config);
  });
  return await({&world, &into}, result, waiter, error);
}

/// Whether all with whom `rank` meets in a group run the same list, so that what an exchange
/// takes and gives lies at the same places of their arenas.
bool Cliques::areAlike(uint32_t group, uint32_t rank) const {
  uint64_t set = groups.find(group, rank).set;
  for (uint32_t r = 0; r < program.num_ranks; ++r)
    if (groups.find(group, r).set == set && program.class_of_rank[r] != program.class_of_rank[rank])
      return false;
  return true;
}

bool Cliques::openWindows(uint32_t group, Waiter &waiter, cleave_error *error) {
  const List &list = ofGroups[group];
  ncclResult_t result = callAll([&](uint32_t i) {
    if (!seats[i].isNccls || !areAlike(group, firstRank + i))
      return ncclSuccess;
    auto &[comm, window] = windows[i].emplace_back(list[i], nullptr);
    return nccl.ncclCommWindowRegister(comm, seats[i].arena, seats[i].bytes, &window,
                                       NCCL_WIN_COLL_SYMMETRIC);
  });
  return await({&list}, result, waiter, error);
}

bool Cliques::connect(const ncclUniqueId &id, Waiter &waiter, cleave_error *error) {
  ncclConfig_t config = configuration();
  world.assign(seats.size(), nullptr);
  ncclResult_t result = callAll([&](uint32_t i) {
    return nccl.ncclCommInitRankConfig(&world[i], int(program.num_ranks), id, int(firstRank + i),
                                       &config);
  });
  if (!await({&world}, result, waiter, error))
    return false;

  windows.resize(seats.size());
  ofGroups.resize(program.num_groups);
  std::vector<std::pair<int, int>> colours(program.num_ranks);
  for (uint32_t g = 0; g < program.num_groups; ++g) {
    for (uint32_t r = 0; r < program.num_ranks; ++r) {
      Membership self = groups.find(g, r);
      colours[r] = {int(self.set), int(self.member)};
    }
    if (program.groups[g].group_size > 1 &&
        !(split(ofGroups[g], colours, waiter, error) && openWindows(g, waiter, error)))
      return false;
  }
  eachCommand(program, [&](uint32_t rank, const cleave_command &command) {
    if (command.op == CLEAVE_OP_SEND)
      ofPairs[{rank, groups.peerOf(command, rank)}];
  });
  for (auto &[pair, list] : ofPairs) {
    std::fill(colours.begin(), colours.end(), std::pair(NCCL_SPLIT_NOCOLOR, 0));
    colours[pair.first] = {0, 0};
    colours[pair.second] = {0, 1};
    if (!split(list, colours, waiter, error))
      return false;
  }
  return true;
}

ncclResult_t Cliques::enroll() {
  ncclResult_t first = ncclSuccess;
  enrolled.resize(seats.size());
  auto enroll = [&](const List &list) {
    for (size_t i = 0; i < list.size(); ++i) {
      void *handle = nullptr;
      bool isKnown = std::any_of(windows[i].begin(), windows[i].end(), [&](const auto &window) {
        return window.first == list[i] && window.second;
      });
      if (!list[i] || !seats[i].bytes || isKnown)
        continue;
      driver.cuCtxSetCurrent(seats[i].context);
      ncclResult_t result = nccl.ncclCommRegister(list[i], seats[i].arena, seats[i].bytes, &handle);
      first = first == ncclSuccess ? result : first;
      if (handle)
        enrolled[i].emplace_back(list[i], handle);
    }
  };
  if (!nccl.ncclCommRegister || !nccl.ncclCommDeregister)
    return first;
  for (const List &list : ofGroups)
    enroll(list);
  for (const auto &[pair, list] : ofPairs)
    enroll(list);
  return first;
}

void Cliques::dismiss(uint32_t rank) {
  uint32_t i = rank - firstRank;
  driver.cuCtxSetCurrent(seats[i].context);
  if (i < enrolled.size())
    for (auto [comm, handle] : std::exchange(enrolled[i], {}))
      nccl.ncclCommDeregister(comm, handle);
  if (i < windows.size())
    for (auto [comm, window] : std::exchange(windows[i], {}))
      if (window)
        nccl.ncclCommWindowDeregister(comm, window);
}

void Cliques::abort() {
  auto end = [&](List &list) {
    for (ncclComm_t comm : list)
      if (comm)
        nccl.ncclCommAbort(comm);
  };
  for (List &list : ofGroups)
    end(list);
  for (auto &[pair, list] : ofPairs)
    end(list);
  end(world);
  ofPairs.clear();
  ofGroups.clear();
  world.clear();
}

ncclResult_t Cliques::state(uint32_t rank) const {
  ncclResult_t worst = ncclSuccess;
  uint32_t i = rank - firstRank;
  for (const List &list : ofGroups)
    worst = list.empty() ? worst : worse(nccl, worst, list[i]);
  for (const auto &[pair, list] : ofPairs)
    worst = list.empty() ? worst : worse(nccl, worst, list[i]);
  return worst;
}

ncclResult_t Cliques::issue(uint32_t rank, const Step &step, CUstream stream) {
  const cleave_command &command = *step.command;
  Ends ends = endsOf(program, step);
  if (isTransfer(command.op)) {
    uint32_t peer = groups.peerOf(command, rank);
    if (command.op == CLEAVE_OP_SEND)
      return nccl.ncclSend(ends.input, ends.bytesIn, ncclInt8, 1,
                           ofPairs.at({rank, peer})[rank - firstRank], stream);
    return nccl.ncclRecv(ends.output, ends.bytesOut, ncclInt8, 0,
                         ofPairs.at({peer, rank})[rank - firstRank], stream);
  }
  Membership self = groups.find(command.group, rank);
  if (self.size > 1)
    return issueCollective(step, self, ofGroups[command.group][rank - firstRank], stream);
  bool moves = ends.bytesIn && ends.input != ends.output;
  CUresult copied = moves ? driver.cuMemcpyDtoDAsync(reinterpret_cast<CUdeviceptr>(ends.output),
                                                     reinterpret_cast<CUdeviceptr>(ends.input),
                                                     ends.bytesIn, stream)
                          : CUDA_SUCCESS;
  return copied ? ncclUnhandledCudaError : ncclSuccess;
}

/// Equal counts have calls of their own; uneven ones are a group of calls, one a member.
ncclResult_t Cliques::issueCollective(const Step &step, const Membership &self, ncclComm_t comm,
                                      CUstream stream) {
  const cleave_command &command = *step.command;
  const uint64_t *counts = program.counts + command.first_count;
  Ends ends = endsOf(program, step);
  auto *input = static_cast<const char *>(ends.input);
  auto *output = static_cast<char *>(ends.output);
  uint64_t bytes = cleave_type_bytes(command.type);
  ncclDataType_t type = ncclInt8;
  typeOf(command.type, type);
  ncclRedOp_t reduction = reductionOf(command);
  if (command.op == CLEAVE_OP_ALL_REDUCE)
    return nccl.ncclAllReduce(input, output, counts[0], type, reduction, comm, stream);
  bool isEven = std::all_of(counts, counts + self.size, [&](uint64_t c) { return c == counts[0]; });
  if (command.op == CLEAVE_OP_ALL_GATHER && isEven)
    return nccl.ncclAllGather(input, output, counts[0] * bytes, ncclInt8, comm, stream);
  if (command.op == CLEAVE_OP_REDUCE_SCATTER && isEven)
    return nccl.ncclReduceScatter(input, output, counts[0], type, reduction, comm, stream);

  ncclResult_t first = nccl.ncclGroupStart();
  auto add = [&](ncclResult_t result) {
    if (first == ncclSuccess && result != ncclInProgress)
      first = result;
  };
  uint64_t in = 0, out = 0;
  for (uint32_t i = 0; i < self.size; ++i) {
    if (command.op == CLEAVE_OP_ALL_TO_ALL) {
      uint64_t sent = bytes * counts[self.member * self.size + i];
      uint64_t received = bytes * counts[i * self.size + self.member];
      if (sent)
        add(nccl.ncclSend(input + in, sent, ncclInt8, int(i), comm, stream));
      if (received)
        add(nccl.ncclRecv(output + out, received, ncclInt8, int(i), comm, stream));
      in += sent;
      out += received;
    } else if (uint64_t its = counts[i]; its && command.op == CLEAVE_OP_ALL_GATHER) {
      add(nccl.ncclBroadcast(input, output + out, its * bytes, ncclInt8, int(i), comm, stream));
      out += its * bytes;
    } else if (its) {
      add(nccl.ncclReduce(input + in, output, its, type, reduction, int(i), comm, stream));
      in += its * bytes;
    }
  }
  ncclResult_t end = nccl.ncclGroupEnd();
  return first == ncclSuccess ? end : first;
}
