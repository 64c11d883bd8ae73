//===- cleave-run.cpp - runs an artifact, without a compiler --------------===//

#include "cleave/Runtime/Artifact.h"
#include "cleave/Runtime/CommandLine.h"

#include <CLI/CLI.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

using namespace cleave;
using runtime::Reason;

namespace {

struct Options {
  std::string artifact, inputs, outputs;
  unsigned repeat = 1, threads = 0;
  double deadline = 0; ///< seconds
  bool json = false, verify = false, eager = false;
};

struct Close {
  void operator()(cleave_artifact *artifact) const { cleave_artifact_close(artifact); }
  void operator()(cleave_session *session) const { cleave_session_destroy(session); }
};

/// This process among those of a launcher; null where there is none.
cleave_process *process = nullptr;

/// A program on this machine. The session ends before what it runs.
struct Job {
  std::unique_ptr<cleave_artifact, Close> artifact;
  std::unique_ptr<cleave_session, Close> session;
  const cleave_program *program = nullptr;
  NamedTensors inputs;
  NamedTensors outputs;
  std::vector<double> latencies; ///< milliseconds
};

} // namespace

static int fail(int status, std::string_view text) {
  std::fflush(stdout);
  runtime::printLine("cleave-run: " + std::string(text));
  return status;
}

/// Of a job one process tells.
static int fail(const cleave_error &error) {
  if (!error.message[0] || (process && !cleave_process_speaks(process)))
    return error.status;
  return fail(error.status, error.message);
}

/// Of what went wrong here alone, all processes of the job end.
static int failAll(int status, std::string_view text) {
  if (!process)
    return fail(status, text);
  cleave_error error = {status, -1, -1, ""};
  std::snprintf(error.message, sizeof error.message, "%.*s", int(text.size()), text.data());
  cleave_process_fail(process, &error);
  return fail(error);
}

/// Inputs are here, and outputs come here.
static bool isRoot() { return !process || cleave_process_rank(process) == 0; }

static int join() {
  cleave_launch launch;
  cleave_error error = {};
  if (cleave_launch_read(&launch, &error))
    return launch.rank == 0 ? fail(error) : error.status;
  if (launch.launcher == CLEAVE_LAUNCHER_NONE)
    return 0;
  if (cleave_process_join(&launch, 0, &process, &error))
    return fail(error);
  for (int number : {SIGTERM, SIGINT})
    std::signal(number, [](int signal) { cleave_process_interrupt(process, signal); });
  return 0;
}

static int open(const Options &options, Job &job) {
  cleave_error error;
  cleave_artifact_options how = CLEAVE_ARTIFACT_OPTIONS;
  how.verify_weights = options.verify;
  cleave_artifact *artifact = nullptr;
  if (cleave_artifact_open(options.artifact.c_str(), &how, &artifact, &error))
    return failAll(error.status, error.message);
  job.artifact.reset(artifact);
  job.program = cleave_artifact_program(artifact);
  return 0;
}

static int checkOutputs(const Options &options, const Job &job) {
  std::vector<runtime::NamedFile> read = {{"the artifact", options.artifact},
                                          {"--inputs", options.inputs}};
  for (uint32_t i = 0; i < job.program->num_files; ++i)
    read.push_back({"its weights", job.program->files[i].path});
  runtime::NamedFile outputs = {"--outputs", options.outputs};
  Reason reason = runtime::checkResults({&outputs, 1}, read);
  return reason.empty() ? 0 : failAll(CLEAVE_REFUSED, reason);
}

static Reason checkIndices(const Job &job) {
  for (uint32_t i = 0; i < job.program->num_inputs; ++i) {
    runtime::IndexRange range;
    const char *node = cleave_artifact_indices(job.artifact.get(), i, &range.from, &range.to);
    auto given = job.inputs.find(job.program->inputs[i].name);
    if (!node || given == job.inputs.end())
      continue;
    range.node = node;
    if (Reason reason = runtime::checkIndices(given->first, given->second, range); !reason.empty())
      return reason;
  }
  return {};
}

static int readInputs(const Options &options, Job &job) {
  if (!isRoot())
    return 0;
  if (int status = checkOutputs(options, job))
    return status;
  if (!options.inputs.empty()) {
    Reason reason = runtime::readTensors(options.inputs, job.inputs);
    if (reason.empty())
      reason = checkIndices(job);
    return reason.empty() ? 0 : failAll(CLEAVE_REFUSED, reason);
  }
  std::string names;
  for (uint32_t i = 0; i < job.program->num_inputs; ++i)
    names += (i ? ", \"" : "\"") + std::string(job.program->inputs[i].name) + "\"";
  return names.empty() ? 0
                       : failAll(CLEAVE_REFUSED, "give a file with --inputs that holds " + names);
}

static int createSession(const Options &options, Job &job) {
  cleave_error error;
  cleave_session_options how = CLEAVE_SESSION_OPTIONS;
  how.threads = options.threads;
  how.deadline_ms = uint32_t(options.deadline * 1000);
  how.process = process;
  how.runs = options.repeat;
  how.eager = options.eager;
  cleave_session *session = nullptr;
  if (cleave_session_create(job.program, &how, &session, &error))
    return fail(error);
  job.session.reset(session);
  if (const char *remark = cleave_session_remark(session); *remark && isRoot())
    runtime::printLine("cleave-run: warning: " + std::string(remark));
  return 0;
}

static int run(const Options &options, Job &job) {
  std::vector<cleave_input> inputs;
  std::vector<cleave_output> outputs;
  if (isRoot()) {
    if (Reason reason = runtime::bindInputs(*job.program, job.inputs, inputs); !reason.empty())
      return failAll(CLEAVE_REFUSED, reason);
    outputs = runtime::bindOutputs(*job.program, job.outputs);
  }
  for (unsigned i = 0; i < options.repeat; ++i) {
    cleave_error error;
    auto begin = std::chrono::steady_clock::now();
    if (cleave_session_run(job.session.get(), inputs.data(), outputs.data(), &error))
      return fail(error);
    job.latencies.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
            .count());
  }
  return 0;
}

static int write(const Options &options, const Job &job) {
  if (!isRoot())
    return 0;
  if (!options.outputs.empty()) {
    if (job.outputs.empty())
      return failAll(CLEAVE_REFUSED,
                     "--outputs \"" + options.outputs +
                         "\": the model has no outputs to write; leave the flag out");
    if (Reason reason = runtime::writeNpz(options.outputs, job.outputs); !reason.empty())
      return failAll(CLEAVE_REFUSED, reason);
  }
  std::string text =
      options.json ? runtime::formatReport(*job.program, job.session.get(), job.latencies) + "\n"
                   : runtime::formatOutputs(*job.program);
  std::fputs(text.c_str(), stdout);
  if (std::fflush(stdout) == 0)
    return 0;
  return failAll(CLEAVE_REFUSED, std::string("cannot write the results to standard output: ") +
                                     std::strerror(errno));
}

static int runJob(const Options &options) {
  Job job;
  if (int status = open(options, job))
    return status;
  if (int status = readInputs(options, job))
    return status;
  if (int status = createSession(options, job))
    return status;
  if (int status = run(options, job))
    return status;
  return write(options, job);
}

static int all(const Options &options) {
  if (int status = join())
    return status;
  int status = runJob(options);
  cleave_error error = {};
  int32_t late = cleave_process_leave(process, &error);
  process = nullptr;
  if (late)
    fail(error);
  return status ? status : late;
}

int main(int argc, char **argv) {
  CLI::App app("Runs what `cleave compile` has written.");
  Options options;
  app.set_version_flag("--version", "cleave-run " CLEAVE_VERSION);
  app.add_option("artifact", options.artifact, "the folder")->required();
  app.add_option("--inputs", options.inputs, "an .npz, or a folder of .npy files")
      ->check(runtime::fileNameError);
  app.add_option("--outputs", options.outputs, "an .npz to write, keys are output names")
      ->check(runtime::fileNameError);
  app.add_option("--repeat", options.repeat, "how often it runs")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  app.add_option("--threads", options.threads, "cores to use, however many ranks; default: all")
      ->check(CLI::Range(1, 4096));
  app.add_option("--deadline", options.deadline,
                 "seconds to wait for another rank before the job fails; default: 60")
      ->check(CLI::Range(0.1, 86400.0));
  app.add_flag("--eager", options.eager,
               "on GPUs, launches each command by itself and makes no CUDA graphs");
  app.add_flag("--json", options.json, "one JSON object: outputs, what each rank counted, times");
  app.add_flag("--verify", options.verify,
               "reads all weights and holds them against their digests");
  runtime::keepStandardError();
  // A file that may not grow is an error to report, not an end.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    app.parse(argc, argv);
    return all(options);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    return fail(CLEAVE_REFUSED, std::string(error.what()) + "; see cleave-run --help");
  } catch (const std::bad_alloc &) {
    return fail(CLEAVE_REFUSED, "this machine has too little memory for the request");
  } catch (const std::exception &error) {
    return fail(CLEAVE_FAILED,
                std::string("an error of Cleave, please report it: ") + error.what());
  }
}
