//===- Process.cpp - joins the processes of a job -------------------------===//
//
// Rank 0 listens at the meeting place and all others call it: that is the star of
// control connections. Each says where it awaits streams of its own, rank 0 tells
// all of all, and each calls those below it. Under MPI the wire is there first, and
// only says where the meeting is.
//
//===----------------------------------------------------------------------===//

#include "Process.h"

#include "../Core/Error.h"
#include "Plugin.h"
#include "Sockets.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <mutex>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

using namespace cleave::runtime;

static constexpr uint32_t defaultDeadlineMs = 30'000;
/// What a caller may take to prove that it knows the secret.
static constexpr uint32_t greetingMs = 2000;
/// Open MPI's launcher ends a failed job by signals with a second of sleep behind each,
/// which the end of a process cuts short: so the first ones end one by one.
static constexpr std::chrono::milliseconds apart{25};
static constexpr uint32_t lastPlace = 3;
/// What the wire of a failed job may take to close.
static constexpr std::chrono::milliseconds closingGrace{500};
static constexpr uint32_t controlPurpose = CLEAVE_NUM_CHANNELS;

static Address localAddress(const std::string &name) {
  Address address = {};
  address.local = 1;
  snprintf(address.name, sizeof address.name, "cleave/%u/%.90s", geteuid(), name.c_str());
  return address;
}

static std::string hex(const std::string &bytes) {
  std::string text;
  for (unsigned char byte : bytes)
    for (int digit : {byte >> 4, byte & 15})
      text.push_back("0123456789abcdef"[digit]);
  return text;
}

cleave_error Process::settle(cleave_error error) {
  if (error.rank < 0 && rank > 0) {
    cleave_error plain = error;
    fail(&error, plain.status, "rank %u on %.60s: %.900s", rank, control->host(rank).c_str(),
         plain.message);
    error.rank = int32_t(rank);
  }
  return control->settle(error, /*afterMs=*/0);
}

static void goApart(uint32_t rank) {
  std::this_thread::sleep_for((1 + std::min(rank, lastPlace)) * apart);
}

static const char *variable(const char *name) {
  const char *text = getenv(name);
  return text && *text ? text : nullptr;
}

Process::~Process() {
  bool whole = control && control->leftWhole();
  cleave_error verdict;
  bool failed = control && control->failed(&verdict);
  control.reset();
  if (!wire)
    return;
  std::jthread guard;
  // What a failed job left on its way may keep the wire from its end.
  if (whole && failed)
    guard = std::jthread([status = verdict.status](std::stop_token closed) {
      std::mutex mutex;
      std::unique_lock lock(mutex);
      std::condition_variable_any().wait_for(lock, closed, closingGrace, [] { return false; });
      if (!closed.stop_requested())
        _exit(status);
    });
  api->close(wire, !whole);
}

int32_t Process::join(cleave_error *error) {
  const char *wanted = variable("CLEAVE_WIRE");
  if (wanted && strcmp(wanted, "mpi") && strcmp(wanted, "sockets"))
    return fail(error, CLEAVE_REFUSED, "CLEAVE_WIRE is mpi or sockets, got: \"%.100s\"", wanted);
  bool launchedByMpi =
      launch.launcher == CLEAVE_LAUNCHER_OPEN_MPI || launch.launcher == CLEAVE_LAUNCHER_MPICH;
  mpi = wanted ? !strcmp(wanted, "mpi") : launchedByMpi;
  std::vector<Socket> star(size);
  if (size == 1) {
    board.create(size);
    board.closeFile();
    entries.resize(1);
    gethostname(entries[0].host, sizeof entries[0].host - 1);
  } else if (int32_t status = meet(star, error)) {
    return status;
  }
  std::vector<ControlPeer> peers;
  for (uint32_t r = 0; r < size; ++r)
    peers.push_back({entries[r].host, std::move(star[r])});
  control = std::make_unique<Control>(rank, std::move(peers), board);
  return CLEAVE_OK;
}

bool Process::isCrowded() const {
  long here = std::count_if(entries.begin(), entries.end(), [&](const Entry &entry) {
    return !strcmp(entry.host, entries[rank].host);
  });
  return here > sysconf(_SC_NPROCESSORS_ONLN);
}

uint32_t Process::place() const {
  auto isNear = [&](const Entry &entry) { return !strcmp(entry.host, entries[rank].host); };
  auto counted = std::count_if(entries.begin(), entries.begin() + rank, isNear);
  return placeByVariable(launch.launcher).value_or(uint32_t(counted));
}

void Process::nameInterface() const {
  if (!interface.empty())
    setenv("NCCL_SOCKET_IFNAME", ("=" + interface).c_str(), /*overwrite=*/0);
  // On one host it needs no port for those who want to know how it does.
  if (meeting.local)
    setenv("NCCL_RAS_ENABLE", "0", /*overwrite=*/0);
}

int32_t Process::meet(std::vector<Socket> &star, cleave_error *error) {
  if (mpi)
    if (int32_t status = openMpi(error))
      return status;
  if (int32_t status = mpi ? findForMpi(error) : findByVariables(error))
    return status;
  if (int32_t status = openDoor(error))
    return status;
  if (int32_t status = rank == 0 ? acceptOf(controlPurpose, 1, star, error)
                                 : call(meeting, 0, controlPurpose, star[0], error))
    return status;
  interface = meeting.local ? "lo" : interfaceOf(ownAddress(star[rank == 0]));
  if (int32_t status = exchangeEntries(star, error))
    return status;
  if (!mpi)
    if (int32_t status = connectMesh(error))
      return status;
  door.close();
  return CLEAVE_OK;
}

int32_t Process::openMpi(cleave_error *error) {
  if (int32_t status = loadMpi(launch.launcher, api, error))
    return status;
  char message[512] = "";
  uint32_t number = 0, count = 0;
  if (api->open(&wire, &number, &count, message, sizeof message))
    return fail(error, CLEAVE_FAILED, "%.500s", message);
  if (number != rank || count != size)
    return fail(
        error, CLEAVE_REFUSED,
        "MPI and the variables of the launcher differ: rank %u of %u, and rank %u of %u; is "
        "the plug-in that of the launcher's MPI?",
        number, count, rank, size);
  return CLEAVE_OK;
}

/// The secret is new with each job, and goes over the wire, which the launcher made.
int32_t Process::findForMpi(cleave_error *error) {
  struct Notice {
    Address meeting;
    char secret[32];
  } notice = {};
  int32_t status = CLEAVE_OK;
  if (rank == 0) {
    secret = randomBytes(sizeof notice.secret);
    memcpy(notice.secret, secret.data(), sizeof notice.secret);
    meeting = localAddress(hex(randomBytes(16)));
    if (const char *interface = variable("CLEAVE_INTERFACE")) {
      status = addressOfInterface(interface, meeting, error);
      meeting.local = 0;
    } else if (!launch.one_host) {
      char host[256] = "";
      gethostname(host, sizeof host - 1);
      status = addressOfHost(host, meeting, error);
      meeting.local = 0;
    }
    if (!status)
      status = door.open(meeting, error);
    doorAddress = notice.meeting = meeting;
    // All hear of it, so that none waits for a meeting that is not.
    if (status)
      notice.meeting.name[0] = '\0';
  }
  if (api->broadcast(wire, &notice, sizeof notice))
    return fail(error, CLEAVE_FAILED, "%.500s", api->error(wire));
  if (!notice.meeting.name[0]) {
    api->close(std::exchange(wire, nullptr), /*failed=*/false);
    if (rank == 0)
      return status;
    // Behind rank 0, which tells the user.
    goApart(rank);
    return fail(error, CLEAVE_REFUSED, "%s", "");
  }
  meeting = notice.meeting;
  secret.assign(notice.secret, sizeof notice.secret);
  return CLEAVE_OK;
}

/// torchrun's own store may hold MASTER_PORT; then the meeting is at the next one.
static int32_t readPort(uint32_t &port, cleave_error *error) {
  const char *text = variable("MASTER_PORT");
  const char *end = text + strlen(text);
  auto [stop, problem] = std::from_chars(text, end, port);
  const char *store = getenv("TORCHELASTIC_USE_AGENT_STORE");
  port += store && !strcmp(store, "True");
  if (problem != std::errc() || stop != end || port == 0 || port > 65535)
    return fail(error, CLEAVE_REFUSED, "MASTER_PORT is to be a port, got: \"%.100s\"", text);
  return CLEAVE_OK;
}

int32_t Process::findByVariables(cleave_error *error) {
  const char *interface = variable("CLEAVE_INTERFACE");
  const char *host = variable("MASTER_ADDR");
  bool local = launch.one_host && !interface;
  uint32_t port = 0;
  if (!variable("MASTER_PORT")) {
    const char *job = variable("SLURM_JOB_ID"), *step = variable("SLURM_STEP_ID");
    if (local && launch.launcher == CLEAVE_LAUNCHER_SLURM && job && step) {
      meeting = localAddress(std::string("slurm-") + job + "-" + step);
      return rank == 0 ? door.open(doorAddress = meeting, error) : int32_t(CLEAVE_OK);
    }
    return fail(error, CLEAVE_REFUSED,
                "MASTER_PORT is not set: it says at which port rank 0 awaits the others");
  }
  if (int32_t status = readPort(port, error))
    return status;
  if (local) {
    meeting = localAddress(std::to_string(port));
  } else {
    if (int32_t status = readToken(error))
      return status;
    if (!host)
      return fail(error, CLEAVE_REFUSED,
                  "MASTER_ADDR is not set: it says on which host rank 0 awaits the others");
    int32_t status = rank == 0 && interface ? addressOfInterface(interface, meeting, error)
                                            : addressOfHost(host, meeting, error);
    if (status)
      return status;
    meeting.port = port;
  }
  return rank == 0 ? door.open(doorAddress = meeting, error) : int32_t(CLEAVE_OK);
}

/// Between hosts whoever reaches the port could be anybody.
int32_t Process::readToken(cleave_error *error) {
  const char *path = variable("CLEAVE_TOKEN_FILE");
  if (!path)
    return fail(
        error, CLEAVE_REFUSED,
        "CLEAVE_TOKEN_FILE is not set: between hosts, or over a network interface, it names "
        "a file with a secret, equal on all hosts and readable by its owner alone");
  struct stat info;
  if (stat(path, &info))
    return fail(error, CLEAVE_REFUSED, "CLEAVE_TOKEN_FILE cannot be read: %s, got: \"%.200s\"",
                strerror(errno), path);
  if ((info.st_mode & 077) || info.st_uid != geteuid())
    return fail(error, CLEAVE_REFUSED,
                "CLEAVE_TOKEN_FILE can be read by others than its owner; chmod 600 \"%.200s\"",
                path);
  std::ifstream file(path, std::ios::binary);
  secret.assign(std::istreambuf_iterator<char>(file), {});
  if (secret.size() < 16)
    return fail(error, CLEAVE_REFUSED,
                "CLEAVE_TOKEN_FILE holds less than 16 bytes of secret, got: %zu", secret.size());
  return CLEAVE_OK;
}

/// Where a member awaits the streams of those above it. Rank 0 uses the meeting.
int32_t Process::openDoor(cleave_error *error) {
  if (rank == 0 || mpi)
    return CLEAVE_OK;
  if (meeting.local) {
    doorAddress = localAddress(hex(randomBytes(16)));
  } else if (const char *interface = variable("CLEAVE_INTERFACE")) {
    if (int32_t status = addressOfInterface(interface, doorAddress, error))
      return status;
  } else {
    // On the network at which rank 0 is reached.
    Socket probe;
    if (int32_t status = connectTo(meeting, Deadline(deadlineMs), probe, error))
      return status;
    doorAddress = ownAddress(probe);
    doorAddress.port = 0;
  }
  return door.open(doorAddress, error);
}

/// Accepts a connection for each purpose from each rank above this one; `sockets` is
/// [purpose][rank].
int32_t Process::acceptOf(uint32_t firstPurpose, uint32_t numPurposes, std::vector<Socket> &sockets,
                          cleave_error *error) {
  Deadline deadline(deadlineMs);
  uint32_t missing = (size - 1 - rank) * numPurposes;
  while (missing) {
    Socket peer = door.accept(deadline);
    if (!peer) {
      uint32_t r = rank + 1;
      while (r + 1 < size && sockets[r])
        ++r;
      return fail(error, CLEAVE_FAILED,
                  "rank %u of %u did not come within %u ms; are all processes started, and at the "
                  "same MASTER_ADDR and MASTER_PORT?",
                  r, size, deadlineMs);
    }
    Hello hello;
    Deadline soon = deadline.atMost(greetingMs);
    if (!hear(peer, secret, hello, soon))
      continue;
    if (hello.size != size) {
      welcome(peer, size, soon);
      return fail(error, CLEAVE_REFUSED,
                  "rank %u was started as one of %u ranks and rank %u as one of %u; start all with "
                  "one number of ranks",
                  hello.rank, hello.size, rank, size);
    }
    uint32_t purpose = hello.purpose - firstPurpose;
    if (hello.rank <= rank || hello.rank >= size || purpose >= numPurposes)
      continue;
    Socket &place = sockets[purpose * size + hello.rank];
    if (place)
      return fail(error, CLEAVE_REFUSED,
                  "rank %u came twice; does another job use the same MASTER_PORT?", hello.rank);
    if (!welcome(peer, 0, soon))
      continue;
    place = std::move(peer);
    --missing;
  }
  return CLEAVE_OK;
}

int32_t Process::call(const Address &address, uint32_t peer, uint32_t purpose, Socket &socket,
                      cleave_error *error) {
  Deadline deadline(deadlineMs);
  if (int32_t status = connectTo(address, deadline, socket, error))
    return status;
  Hello hello{rank, size, purpose};
  switch (greet(socket, secret, hello, deadline)) {
  case Greeting::Welcome: return CLEAVE_OK;
  case Greeting::WrongSecret:
    return fail(error, CLEAVE_REFUSED,
                "rank %u knows another secret; CLEAVE_TOKEN_FILE is to be equal on all hosts",
                peer);
  case Greeting::WrongSize:
    return fail(error, CLEAVE_REFUSED,
                "rank %u was started as one of %u ranks and rank %u as one of %u; start all with "
                "one number of ranks",
                peer, hello.size, rank, size);
  case Greeting::NoAnswer: break;
  }
  return fail(error, CLEAVE_FAILED, "rank %u at %.110s port %u does not answer within %u ms", peer,
              address.name, address.port, deadlineMs);
}

/// All processes tell rank 0 of themselves, and it tells all of all.
int32_t Process::exchangeEntries(std::vector<Socket> &star, cleave_error *error) {
  Deadline deadline(deadlineMs);
  entries.resize(size);
  gethostname(entries[rank].host, sizeof entries[rank].host - 1);
  entries[rank].door = doorAddress;
  BoardKey key = {};
  bool done = true;
  uint32_t last = 0;
  if (rank == 0) {
    key = board.create(size);
    for (uint32_t r = 1; r < size && done; ++r, last = r)
      done = star[r].readAll(&entries[r], sizeof(Entry), deadline);
    for (uint32_t r = 1; r < size && done; ++r)
      done = star[r].writeAll(&key, sizeof key, deadline) &&
             star[r].writeAll(entries.data(), size * sizeof(Entry), deadline);
    // One byte of each: it has opened the board.
    char opened;
    for (uint32_t r = 1; r < size && done; ++r, last = r)
      done = star[r].readAll(&opened, 1, deadline);
    board.closeFile();
  } else {
    done = star[0].writeAll(&entries[rank], sizeof(Entry), deadline) &&
           star[0].readAll(&key, sizeof key, deadline) &&
           star[0].readAll(entries.data(), size * sizeof(Entry), deadline);
    if (done) {
      char opened = board.join(size, key);
      done = star[0].writeAll(&opened, 1, deadline);
    }
  }
  return done ? CLEAVE_OK
              : fail(error, CLEAVE_FAILED, "rank %u ended while the ranks met", rank ? 0 : last);
}

int32_t Process::connectMesh(cleave_error *error) {
  std::vector<Socket> streams(CLEAVE_NUM_CHANNELS * size);
  for (uint32_t r = 0; r < rank; ++r)
    for (uint32_t channel = 0; channel < CLEAVE_NUM_CHANNELS; ++channel)
      if (int32_t status = call(entries[r].door, r, channel, streams[channel * size + r], error))
        return status;
  if (int32_t status = acceptOf(0, CLEAVE_NUM_CHANNELS, streams, error))
    return status;
  api = socketsApi();
  wire = createSockets(size, std::move(streams));
  return CLEAVE_OK;
}

/// The one that has joined: a signal may come when it has left.
static std::atomic<cleave_process *> joined{nullptr};

static Process *inside(cleave_process *process) { return reinterpret_cast<Process *>(process); }

int32_t cleave_process_join(const cleave_launch *launch, uint32_t deadlineMs,
                            cleave_process **process, cleave_error *error) {
  *process = nullptr;
  try {
    auto made = std::make_unique<Process>(*launch, deadlineMs ? deadlineMs : defaultDeadlineMs);
    if (int32_t status = made->join(error))
      return status;
    *process = reinterpret_cast<cleave_process *>(made.release());
    joined.store(*process);
    return CLEAVE_OK;
  } catch (const std::exception &problem) {
    return fail(error, CLEAVE_REFUSED, "cannot join the other ranks: %.500s", problem.what());
  }
}

uint32_t cleave_process_rank(const cleave_process *process) {
  return reinterpret_cast<const Process *>(process)->rank;
}

uint32_t cleave_process_size(const cleave_process *process) {
  return reinterpret_cast<const Process *>(process)->size;
}

int32_t cleave_process_fail(cleave_process *process, cleave_error *error) {
  *error = inside(process)->settle(*error);
  return error->status;
}

int32_t cleave_process_speaks(cleave_process *process) {
  return inside(process)->control->speaks();
}

void cleave_process_interrupt(cleave_process *process, int signal) {
  if (process && joined.load() == process)
    inside(process)->control->interrupt(signal);
}

int32_t cleave_process_leave(cleave_process *process, cleave_error *error) {
  if (!process)
    return CLEAVE_OK;
  Control &control = *inside(process)->control;
  int32_t status = control.leave(inside(process)->deadlineMs, error);
  joined.store(nullptr);
  bool goesApart = status && inside(process)->launch.launcher == CLEAVE_LAUNCHER_OPEN_MPI;
  auto rank = inside(process)->rank;
  delete inside(process);
  if (goesApart)
    goApart(rank);
  return status;
}
