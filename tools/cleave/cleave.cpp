//===- cleave.cpp - the command line --------------------------------------===//

#include "Common.h"

int main(int argc, char **argv) {
  CLI::App app("Cleave cuts an ONNX model over many devices, compiles it and runs it.");
  app.require_subcommand(1);
  int status = 0;
  cleave::addRun(app, status);
  cleave::addCheck(app, status);
  cleave::addExplain(app, status);
  cleave::addInspect(app, status);
  cleave::addBench(app, status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    // Help is a success; anything else is a request that cannot be met.
    return app.exit(error) == 0 ? 0 : 2;
  }
  return status;
}
