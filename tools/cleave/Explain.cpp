//===- Explain.cpp - cleave explain: what travels, and why ----------------===//

#include "Common.h"

#include "cleave/Transforms/Sharding/Explain.h"

#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace cleave;

static int explain(const ModelOptions &options, bool json, llvm::StringRef page) {
  Compilation compilation;
  Progress progress(compilation);
  llvm::Expected<LoadedModel> model = load(compilation, options);
  if (!model)
    return fail(model.takeError());
  if (llvm::Error error = shard(compilation, *model->module, options.mesh, options))
    return fail(std::move(error));
  Explanation explanation = collectExplain(*model->module);
  if (!page.empty()) {
    std::string text = toHtml(explanation, llvm::sys::path::filename(options.model));
    if (llvm::Error error = writeText(page, text))
      return fail(std::move(error));
  }
  Progress::end();
  llvm::outs() << (json ? toJson(explanation) : toText(explanation)) << "\n";
  return 0;
}

void cleave::addExplain(CLI::App &app, int &status) {
  auto options = std::make_shared<ModelOptions>();
  auto json = std::make_shared<bool>(false);
  auto page = std::make_shared<std::string>();
  CLI::App *command =
      app.add_subcommand("explain", "says what is cut, what travels, how much and why");
  options->addTo(*command, /*meshWanted=*/false);
  command->add_flag("--json", *json, "one JSON object");
  options->addResult(*command, "--html", *page, "a page to write, which needs nothing else");
  command->callback([=, &status] { status = explain(*options, *json, *page); });
}
