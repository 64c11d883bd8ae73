//===- MeshAxes.cpp - what the axes of a mesh are for ---------------------===//
//
// The name of an axis is its intent: tp and ep pay for weights held, dp, sp and cp
// never cut weights. A name without a meaning cuts nothing by itself, so that a
// slip of the pen is noticed; such axes are for shardings that somebody wrote. pp
// cuts no dimension: its ranks are stages.
//
//===----------------------------------------------------------------------===//

#include "MeshAxes.h"

#include <map>

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

dist::MeshAttr cleave::parseMesh(MLIRContext *context, StringRef text, std::string &error) {
  SmallVector<StringAttr> names;
  SmallVector<int64_t> sizes;
  int64_t ranks = 1;
  SmallVector<StringRef> entries;
  if (!text.empty())
    text.split(entries, ',');
  for (StringRef entry : entries) {
    auto [name, number] = entry.split('=');
    int64_t size;
    bool known =
        !name.empty() && llvm::all_of(name, [](char c) { return std::isalnum(c) || c == '_'; });
    if (!known || number.getAsInteger(10, size) || size < 1 || size > 4096) {
      error = ("an axis is name=size, with a size of 1 to 4096, got: " + entry).str();
      return nullptr;
    }
    StringAttr axis = StringAttr::get(context, name);
    if (llvm::is_contained(names, axis)) {
      error = ("axis named twice: " + name).str();
      return nullptr;
    }
    names.push_back(axis);
    sizes.push_back(size);
    ranks *= size;
    if (ranks > 4096) {
      error = ("a mesh has at most 4096 ranks, got: " + text).str();
      return nullptr;
    }
  }
  return dist::MeshAttr::get(context, names, sizes);
}

bool cleave::isPipelined(dist::MeshAttr mesh) {
  return llvm::any_of(llvm::zip(mesh.getNames(), mesh.getSizes()), [](auto axis) {
    auto [name, size] = axis;
    return size > 1 && (name == dist::kStageAxis || name == kMicroBatchAxis);
  });
}

namespace {

/// What the name of an axis says that it is for.
enum class Intent { Weights, Data, Stages, None };

constexpr std::pair<StringLiteral, Intent> kIntents[] = {
    {"tp", Intent::Weights}, {"ep", Intent::Weights}, {"dp", Intent::Data},
    {"sp", Intent::Data},    {"cp", Intent::Data},    {dist::kStageAxis, Intent::Stages}};

} // namespace

static Intent intentOf(StringRef name) {
  for (auto [known, intent] : kIntents)
    if (name == known)
      return intent;
  return Intent::None;
}

/// Size of the sub-axis that few kv heads ask of an axis of `size`: the largest
/// leading factor of a weight that divides it and is followed by one that fills
/// the rest. 0 where nothing asks.
static int64_t subAxisSize(DimNames &names, func::FuncOp func, int64_t size) {
  int64_t best = 0;
  for (auto weight : func.getOps<nn::WeightOp>()) {
    int64_t rank = cast<RankedTensorType>(weight.getType()).getRank();
    for (int64_t d = 0; rank > 1 && d < rank; ++d) {
      auto factors = names.dimension(weight.getResult(), d);
      if (factors.size() < 2)
        continue;
      int64_t outer = factors[0]->size, inner = factors[1]->size;
      if (outer > 1 && outer < size && size % outer == 0 && outer * inner >= size)
        best = std::max(best, outer);
    }
  }
  return best;
}

SmallVector<Axis> sharding::searchedAxes(DimNames &names, func::FuncOp func, dist::MeshAttr mesh) {
  SmallVector<Axis> axes;
  for (auto [i, name] : llvm::enumerate(mesh.getNames())) {
    int64_t size = mesh.getSizes()[i];
    unsigned parent = i;
    if (name == kMicroBatchAxis) {
      axes.push_back({name, size, /*holdsWeights=*/false, parent, /*isInTime=*/true});
      continue;
    }
    Intent intent = intentOf(name);
    if (size == 1 || intent == Intent::None || intent == Intent::Stages)
      continue;
    bool holds = intent == Intent::Weights;
    int64_t outer = holds ? subAxisSize(names, func, size) : 0;
    if (!outer) {
      axes.push_back({name, size, holds, parent});
      continue;
    }
    axes.push_back({dist::subAxis(mesh, name, 1, outer), outer, holds, parent});
    axes.push_back({dist::subAxis(mesh, name, outer, size / outer), size / outer, holds, parent});
  }
  return axes;
}

//===----------------------------------------------------------------------===//
// Axes that cut nothing
//===----------------------------------------------------------------------===//

/// The name that was probably meant: of the same letters, else one letter away.
static StringRef nearestName(StringRef name) {
  auto letters = [](StringRef text) {
    std::string sorted = text.lower();
    llvm::sort(sorted);
    return sorted;
  };
  for (auto [known, intent] : kIntents)
    if (letters(known) == letters(name))
      return known;
  for (auto [known, intent] : kIntents)
    if (StringRef(name.lower()).edit_distance(known) == 1)
      return known;
  return "";
}

static std::string whyUnknown(StringRef name) {
  std::string text = "its name says nothing about what to cut, as";
  for (auto [i, known] : llvm::enumerate(kIntents))
    text += (i == 0 ? " " : i + 1 == std::size(kIntents) ? " and " : ", ") + known.first.str();
  text += " do";
  if (StringRef nearest = nearestName(name); !nearest.empty())
    text += "; did you mean \"" + nearest.str() + "\"?";
  return text;
}

/// The dimensions of inputs that a data axis may cut once they are larger: those of
/// size 1, and the one that it would cut now if moving parts were free.
static SmallVector<std::pair<std::string, int64_t>> growing(func::FuncOp func, DimNames &names,
                                                            const Axis &axis) {
  SearchRequest free;
  free.machine = {/*latency=*/0, /*link=*/1e18, /*flops=*/1e9, /*memory=*/1e9};
  SearchProblem search(func, names, axis, free);
  bool solved = search.solve(Held()).has_value();
  llvm::MapVector<std::string, int64_t, std::map<std::string, unsigned>> found;
  for (BlockArgument argument : func.getArguments()) {
    std::optional<int64_t> cut = solved ? search.cutDimension(argument, 0) : std::nullopt;
    for (auto [i, name] : llvm::enumerate(inputDims(func, argument))) {
      int64_t size = cast<RankedTensorType>(argument.getType()).getDimSize(i);
      if (!name.empty() && (size == 1 || cut == static_cast<int64_t>(i)))
        found.insert({name, size});
    }
  }
  return found.takeVector();
}

std::string sharding::whyIdle(func::FuncOp func, const SearchRequest &request, DimNames &names,
                              StringAttr name, int64_t size) {
  Intent intent = intentOf(name);
  if (intent == Intent::None)
    return whyUnknown(name);
  std::string text =
      intent == Intent::Data ? "it never cuts weights, and no other dimension" : "no dimension";
  text += " of this model saves more time when cut than moving its parts costs, by the times of "
          "an H100";
  if (intent == Intent::Weights)
    return text;
  auto larger = growing(func, names, {name, size, /*holdsWeights=*/false, 0});
  text += "; give larger sizes with --dim";
  for (auto [i, dim] : llvm::enumerate(larger))
    text += (i ? ", \"" : ": \"") + dim.first + "\" is " + std::to_string(dim.second);
  return text;
}
