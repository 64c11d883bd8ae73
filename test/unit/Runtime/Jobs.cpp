//===- Jobs.cpp - starts processes as launchers do ------------------------===//

#include "Jobs.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace cleave::test;

static const char *commandOf(Launcher launcher) {
  return launcher == Launcher::OpenMpi ? "mpirun.openmpi" : "mpirun.mpich";
}

static const char *labelOf(Launcher launcher) {
  return launcher == Launcher::Torchrun  ? "torchrun"
         : launcher == Launcher::OpenMpi ? "openmpi"
                                         : "mpich";
}

std::string cleave::test::nameOf(const JobKind &kind) {
  return labelOf(kind.launcher) + std::to_string(kind.ranks);
}

static std::string besideThis(const std::string &name) {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  std::string own(path, size_t(std::max<ssize_t>(length, 0)));
  return own.substr(0, own.rfind('/') + 1) + name;
}

/// Both the program and the plug-in.
bool cleave::test::isThere(Launcher launcher) {
  if (launcher == Launcher::Torchrun)
    return true;
  std::string plugin = besideThis(std::string("../lib/libcleave-mpi-") + labelOf(launcher) + ".so");
  return !access(plugin.c_str(), R_OK) &&
         !system((std::string("command -v ") + commandOf(launcher) + " >/dev/null").c_str());
}

static pid_t start(const std::vector<std::string> &command, const Variables &variables,
                   int output) {
  std::vector<std::string> assignments;
  for (char **entry = environ; *entry; ++entry) {
    std::string name(*entry, std::min(strlen(*entry), size_t(strcspn(*entry, "="))));
    if (!variables.contains(name))
      assignments.push_back(*entry);
  }
  for (const auto &[name, value] : variables)
    assignments.push_back(name + "=" + value);
  std::vector<char *> arguments, environment;
  for (const std::string &word : command)
    arguments.push_back(const_cast<char *>(word.c_str()));
  for (const std::string &word : assignments)
    environment.push_back(const_cast<char *>(word.c_str()));
  arguments.push_back(nullptr);
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, 1);
  posix_spawn_file_actions_adddup2(&actions, output, 2);
  pid_t process = -1;
  if (posix_spawnp(&process, arguments[0], &actions, nullptr, arguments.data(), environment.data()))
    process = -1;
  posix_spawn_file_actions_destroy(&actions);
  return process;
}

/// Two jobs of a machine must not meet, nor those of processes that began together.
static std::string freshPort() {
  static uint32_t next = uint32_t(getpid()) * 7919 % 20000;
  return std::to_string(20000 + next++ % 20000);
}

static std::vector<pid_t> startAll(const JobKind &kind, const std::vector<std::string> &command,
                                   const Variables &variables,
                                   const std::vector<Variables> &perRank, int output) {
  if (kind.launcher != Launcher::Torchrun) {
    std::vector<std::string> whole = {commandOf(kind.launcher)};
    if (kind.launcher == Launcher::OpenMpi)
      whole.insert(whole.end(), {"--oversubscribe", "--allow-run-as-root"});
    whole.insert(whole.end(), {"-n", std::to_string(kind.ranks)});
    whole.insert(whole.end(), command.begin(), command.end());
    return {start(whole, variables, output)};
  }
  std::vector<pid_t> processes;
  std::string port = freshPort(), size = std::to_string(kind.ranks);
  for (uint32_t rank = 0; rank < kind.ranks; ++rank) {
    Variables own = {{"RANK", std::to_string(rank)}, {"WORLD_SIZE", size},
                     {"LOCAL_WORLD_SIZE", size},     {"LOCAL_RANK", std::to_string(rank)},
                     {"MASTER_ADDR", "127.0.0.1"},   {"MASTER_PORT", port}};
    for (const auto &[name, value] : variables)
      own[name] = value;
    if (rank < perRank.size())
      for (const auto &[name, value] : perRank[rank])
        own[name] = value;
    processes.push_back(start(command, own, output));
  }
  return processes;
}

JobResult cleave::test::runJob(const JobKind &kind, const std::vector<std::string> &arguments,
                               const Variables &variables, const std::vector<Variables> &perRank) {
  JobResult result;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) {
    result.worst = -1;
    return result;
  }
  std::vector<std::string> command = {besideThis("CleaveTestJob")};
  command.insert(command.end(), arguments.begin(), arguments.end());
  auto begin = std::chrono::steady_clock::now();
  std::vector<pid_t> processes = startAll(kind, command, variables, perRank, ends[1]);
  close(ends[1]);
  // Ends when the last process that holds the other end has ended.
  char some[4096];
  for (ssize_t got; (got = read(ends[0], some, sizeof some)) > 0;)
    result.text.append(some, size_t(got));
  close(ends[0]);
  for (pid_t process : processes) {
    int status = 0;
    if (process < 0 || waitpid(process, &status, 0) < 0)
      result.worst = 127;
    else if (WIFSIGNALED(status))
      ++result.killed;
    else
      result.worst = std::max(result.worst, WEXITSTATUS(status));
  }
  result.took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  return result;
}
