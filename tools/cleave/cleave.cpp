//===- cleave.cpp - the command line --------------------------------------===//

#include "Common.h"

#include "cleave/Support/Failure.h"

#include "llvm/Support/raw_ostream.h"

#include <csignal>
#include <new>

using namespace cleave;

/// What a disk without room, or a reader that left, made of the results.
static int flushResults(int status) {
  llvm::raw_fd_ostream &out = llvm::outs();
  out.flush();
  if (!out.has_error())
    return status;
  std::string reason = out.error().message();
  out.clear_error();
  return fail(llvm::createStringError("cannot write the results to standard output: " + reason));
}

int main(int argc, char **argv) {
  CLI::App app("Cleave cuts an ONNX model over many devices, compiles it and runs it.");
  app.require_subcommand(1);
  int status = 0;
  addRun(app, status);
  addCheck(app, status);
  addExplain(app, status);
  addInspect(app, status);
  addBench(app, status);
  // A file that may not grow is an error to report, not an end.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    // Help is a success; anything else is a request that cannot be met.
    if (error.get_exit_code() == 0)
      return app.exit(error);
    return fail(llvm::createStringError(llvm::StringRef(error.what()).rtrim("\n.") +
                                        "; see cleave --help"));
  } catch (const std::bad_alloc &) {
    return fail(llvm::createStringError(
        "this machine has too little memory for the request; ask for smaller sizes with --dim"));
  } catch (const std::exception &error) {
    return fail(llvm::make_error<Failure>(
        std::string("an error of Cleave, please report it: ") + error.what()));
  }
  return flushResults(status);
}
