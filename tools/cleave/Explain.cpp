//===- Explain.cpp - cleave explain: what travels, and why ----------------===//

#include "Common.h"

#include "cleave/Transforms/Sharding/Explain.h"

#include "llvm/Support/raw_ostream.h"

using namespace cleave;

static int explain(const ModelOptions &options, bool json) {
  Compilation compilation;
  Progress progress(compilation);
  llvm::Expected<LoadedModel> model = load(compilation, options);
  if (!model)
    return fail(model.takeError());
  if (llvm::Error error = shard(compilation, *model->module, options.mesh, options))
    return fail(std::move(error));
  Explanation explanation = collectExplain(*model->module);
  llvm::outs() << (json ? toJson(explanation) : toText(explanation)) << "\n";
  return 0;
}

void cleave::addExplain(CLI::App &app, int &status) {
  auto options = std::make_shared<ModelOptions>();
  auto json = std::make_shared<bool>(false);
  CLI::App *command =
      app.add_subcommand("explain", "says what is cut, what travels, how much and why");
  options->addTo(*command, /*meshWanted=*/true);
  command->add_flag("--json", *json, "one JSON object");
  command->callback([=, &status] { status = explain(*options, *json); });
}
