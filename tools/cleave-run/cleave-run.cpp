//===- cleave-run.cpp - runs an artifact, without a compiler --------------===//

#include "cleave/Runtime/Artifact.h"
#include "cleave/Runtime/Tensors.h"

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
  bool json = false, verify = false;
};

struct Close {
  void operator()(cleave_artifact *artifact) const { cleave_artifact_close(artifact); }
  void operator()(cleave_session *session) const { cleave_session_destroy(session); }
};

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

/// Names in a file are foreign: what would move a terminal's cursor is spelt out.
static int fail(int status, std::string_view text) {
  std::fflush(stdout);
  std::fputs("cleave-run: ", stderr);
  for (unsigned char c : text)
    if (c < 0x20 || c == 0x7f)
      std::fprintf(stderr, "\\x%02x", c);
    else
      std::fputc(c, stderr);
  std::fputc('\n', stderr);
  return status;
}

static int fail(const cleave_error &error) { return fail(error.status, error.message); }

static int open(const Options &options, Job &job) {
  cleave_error error;
  cleave_artifact_options how = CLEAVE_ARTIFACT_OPTIONS;
  how.verify_weights = options.verify;
  cleave_artifact *artifact = nullptr;
  if (cleave_artifact_open(options.artifact.c_str(), &how, &artifact, &error))
    return fail(error);
  job.artifact.reset(artifact);
  job.program = cleave_artifact_program(artifact);
  return 0;
}

static int readInputs(const Options &options, Job &job) {
  if (!options.inputs.empty()) {
    Reason reason = runtime::readTensors(options.inputs, job.inputs);
    return reason.empty() ? 0 : fail(CLEAVE_REFUSED, reason);
  }
  std::string names;
  for (uint32_t i = 0; i < job.program->num_inputs; ++i)
    names += (i ? ", \"" : "\"") + std::string(job.program->inputs[i].name) + "\"";
  return names.empty() ? 0 : fail(CLEAVE_REFUSED, "give a file with --inputs that holds " + names);
}

static int createSession(const Options &options, Job &job) {
  cleave_error error;
  cleave_session_options how = CLEAVE_SESSION_OPTIONS;
  how.threads = options.threads;
  cleave_session *session = nullptr;
  if (cleave_session_create(job.program, &how, &session, &error))
    return fail(error);
  job.session.reset(session);
  return 0;
}

static int run(const Options &options, Job &job) {
  std::vector<cleave_input> inputs;
  if (Reason reason = runtime::bindInputs(*job.program, job.inputs, inputs); !reason.empty())
    return fail(CLEAVE_REFUSED, reason);
  std::vector<cleave_output> outputs = runtime::bindOutputs(*job.program, job.outputs);
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
  if (!options.outputs.empty()) {
    if (job.outputs.empty())
      return fail(CLEAVE_REFUSED, "--outputs \"" + options.outputs +
                                      "\": the model has no outputs to write; leave the flag out");
    if (Reason reason = runtime::writeNpz(options.outputs, job.outputs); !reason.empty())
      return fail(CLEAVE_REFUSED, reason);
  }
  std::string text =
      options.json ? runtime::formatReport(*job.program, job.session.get(), job.latencies) + "\n"
                   : runtime::formatOutputs(*job.program);
  std::fputs(text.c_str(), stdout);
  if (std::fflush(stdout) == 0)
    return 0;
  return fail(CLEAVE_REFUSED,
              std::string("cannot write the results to standard output: ") + std::strerror(errno));
}

static int all(const Options &options) {
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

int main(int argc, char **argv) {
  CLI::App app("Runs what `cleave compile` has written.");
  Options options;
  app.set_version_flag("--version", "cleave-run " CLEAVE_VERSION);
  app.add_option("artifact", options.artifact, "the folder")->required();
  app.add_option("--inputs", options.inputs, "an .npz, or a folder of .npy files");
  app.add_option("--outputs", options.outputs, "an .npz to write, keys are output names");
  app.add_option("--repeat", options.repeat, "how often it runs")->check(CLI::Range(1, 1000000));
  app.add_option("--threads", options.threads, "cores to use, however many ranks; default: all")
      ->check(CLI::Range(1, 4096));
  app.add_flag("--json", options.json, "one JSON object: outputs, what each rank counted, times");
  app.add_flag("--verify", options.verify,
               "reads all weights and holds them against their digests");
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
