//===- cleave.cpp - the command line --------------------------------------===//

#include "Common.h"

#include "cleave/Support/Failure.h"

#include "llvm/Config/llvm-config.h"
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

/// What a person who wrote `word` may have meant: a flag of `app`, or a
/// subcommand.
static std::string nearestName(CLI::App &app, llvm::StringRef word) {
  std::vector<std::string> names;
  for (const CLI::Option *option : app.get_options())
    for (const std::string &name : option->get_lnames())
      names.push_back("--" + name);
  for (const CLI::App *command : app.get_subcommands([](CLI::App *) { return true; }))
    names.push_back(command->get_name());
  std::string nearest;
  unsigned least = 3;
  for (const std::string &name : names)
    if (unsigned distance = word.edit_distance(name); distance < least) {
      least = distance;
      nearest = name;
    }
  return nearest;
}

/// What is wrong with a request that does not parse, with the nearest name for
/// one that is not known.
static llvm::Error unparsed(CLI::App &app, const CLI::ParseError &error) {
  std::vector<CLI::App *> chosen = app.get_subcommands();
  CLI::App &command = chosen.empty() ? app : *chosen.front();
  std::string text = llvm::StringRef(error.what()).rtrim("\n.").str();
  if (std::vector<std::string> unknown = command.remaining(); !unknown.empty()) {
    bool isFlag = llvm::StringRef(unknown.front()).starts_with("-");
    std::string kind = isFlag ? "flag" : chosen.empty() ? "subcommand" : "place for";
    text = "there is no " + kind + " \"" + unknown.front() + "\"";
    if (std::string nearest = nearestName(command, unknown.front()); !nearest.empty())
      text += "; did you mean \"" + nearest + "\"?";
  }
  return llvm::createStringError(text + "; see cleave " +
                                 (chosen.empty() ? "" : command.get_name() + " ") + "--help");
}

int main(int argc, char **argv) {
  CLI::App app("Cleave cuts an ONNX model over many devices, compiles it and runs it.");
  app.require_subcommand(1);
  app.set_version_flag("--version", "cleave " CLEAVE_VERSION " (LLVM " LLVM_VERSION_STRING ")");
  int status = 0;
  addRun(app, status);
  addCheck(app, status);
  addExplain(app, status);
  addCompile(app, status);
  addInspect(app, status);
  addBench(app, status);
  runtime::keepStandardError();
  // A file that may not grow is an error to report, not an end.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    // Help is a success; anything else is a request that cannot be met.
    if (error.get_exit_code() == 0)
      return app.exit(error);
    return fail(unparsed(app, error));
  } catch (const std::bad_alloc &) {
    return fail(llvm::createStringError(
        "this machine has too little memory for the request; ask for smaller sizes with --dim"));
  } catch (const std::exception &error) {
    return fail(llvm::make_error<Failure>(std::string("an error of Cleave, please report it: ") +
                                          error.what()));
  }
  return flushResults(status);
}
