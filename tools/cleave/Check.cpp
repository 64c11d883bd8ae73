//===- Check.cpp - cleave check: sharded equals unsharded -----------------===//

#include "Common.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <cmath>

using namespace cleave;

/// |a - b| <= atol + rtol |b|.
struct Tolerance {
  double atol = 0, rtol = 0;
};

/// What a cut may change: sums of n products in another order differ by about √n roundings of
/// the storage type, here for n up to 4096. The products are as large as results are in the
/// mean, also where a sum of them is small, and taken for a unit at least.
static Tolerance toleranceOf(const Tensor &want) {
  double rounding = want.type == CLEAVE_F16 ? 0x1p-11 : want.type == CLEAVE_BF16 ? 0x1p-8 : 0x1p-24;
  double squares = 0;
  int64_t count = 0;
  for (int64_t i = 0; i < want.size(); ++i)
    if (double x = want.at(i); std::isfinite(x)) {
      squares += x * x;
      ++count;
    }
  double mean = count && std::isfinite(squares) ? std::sqrt(squares / double(count)) : 0;
  return {256 * rounding * std::max(mean, 1.0), 256 * rounding};
}

static std::string toleranceError(const std::string &text) {
  double value;
  bool isGood = !llvm::StringRef(text).getAsDouble(value) && value >= 0 && std::isfinite(value);
  return isGood ? "" : "wants a finite number from 0 on, got: " + text;
}

/// Writes to `out` how far `got` is from `want`; whether all of it is within tolerance.
static llvm::Expected<bool> compare(llvm::raw_ostream &out, const char *title, const Runner &got,
                                    const NamedTensors &want, std::optional<Tolerance> given) {
  bool equal = true;
  for (const auto &[name, tensor] : got.outputs()) {
    auto other = want.find(name);
    if (other == want.end())
      continue;
    Tolerance tolerance = given ? *given : toleranceOf(other->second);
    llvm::Expected<Difference> difference =
        compareTensors(tensor, other->second, tolerance.atol, tolerance.rtol);
    if (!difference)
      return llvm::createStringError("output \"" + name + "\" " +
                                     llvm::toString(difference.takeError()));
    bool within = difference->share <= 1;
    equal &= within;
    out << llvm::format("  %-9s %-28s |difference| <= %.3g (%.2g of what is tolerated)", title,
                        name.c_str(), difference->largest, difference->share);
    out << (within ? "\n" : "  NOT EQUAL\n");
  }
  return equal;
}

static int check(const ModelOptions &options, const std::string &golden, double atol, double rtol) {
  Compilation compilation;
  Progress progress(compilation);
  if (llvm::Error error = requireTarget(options))
    return fail(std::move(error));
  llvm::Expected<LoadedModel> model = load(compilation, options);
  if (!model)
    return fail(model.takeError());
  std::optional<NamedTensors> expected;
  if (!golden.empty()) {
    llvm::Expected<NamedTensors> tensors = readNamed(golden, "output", model->outputs);
    if (!tensors)
      return fail(tensors.takeError());
    if (tensors->empty())
      return fail(llvm::createStringError("--golden \"" + golden + "\" holds no outputs"));
    expected = std::move(*tensors);
  }
  std::unique_ptr<Runner> runners[2];
  ModelOptions uncut = options;
  uncut.microBatches = uncut.virtualStages = 1;
  uncut.unharmed = true;
  for (bool sharded : {false, true}) {
    llvm::Expected<std::unique_ptr<Runner>> runner = prepare(
        compilation, *model->module, sharded ? options.mesh : "", sharded ? options : uncut);
    if (!runner)
      return fail(runner.takeError());
    runners[sharded] = std::move(*runner);
    compilation.onPhase("running");
    if (llvm::Error error = runners[sharded]->run(model->inputs))
      return fail(std::move(error));
  }

  NamedTensors whole;
  for (const auto &[name, tensor] : runners[0]->outputs())
    whole[name] = tensor;
  std::optional<Tolerance> given;
  if (atol >= 0 || rtol >= 0)
    given = Tolerance{std::max(atol, 0.0), std::max(rtol, 0.0)};
  // Results are printed once all of them are there.
  std::string text;
  llvm::raw_string_ostream out(text);
  llvm::Expected<bool> equal = compare(out, "uncut", *runners[1], whole, given);
  if (!equal)
    return fail(equal.takeError());
  if (expected) {
    llvm::Expected<bool> same = compare(out, "golden", *runners[1], *expected, given);
    if (!same)
      return fail(llvm::createStringError("--golden: " + llvm::toString(same.takeError())));
    *equal &= *same;
  }
  Progress::end();
  llvm::outs() << text << (*equal ? "equal\n" : "not equal\n");
  return *equal ? 0 : 1;
}

void cleave::addCheck(CLI::App &app, int &status) {
  auto options = std::make_shared<ModelOptions>();
  auto golden = std::make_shared<std::string>();
  auto atol = std::make_shared<double>(-1), rtol = std::make_shared<double>(-1);
  CLI::App *command =
      app.add_subcommand("check", "runs a model cut and uncut and compares the outputs");
  options->addTo(*command, /*meshWanted=*/true);
  addEager(*command, *options);
  addPath(*command, "--golden", *golden, "outputs to compare with too, as --inputs takes them");
  command
      ->add_option("--atol", *atol,
                   "absolute tolerance; default: by the element type and the size of results")
      ->check(toleranceError);
  command->add_option("--rtol", *rtol, "relative tolerance; default: by the element type")
      ->check(toleranceError);
  command->callback([=, &status] { status = check(*options, *golden, *atol, *rtol); });
}
