//===- Search.cpp - from a graph and a mesh to the best cut ---------------===//
//
// Names the dimensions, makes axes of the mesh (and sub-axes, where kv heads are
// fewer than ranks), and solves for all axes at once; where the tables grow too
// large for that, for one axis after the other until nothing changes.
//
//===----------------------------------------------------------------------===//

#include "cleave/Transforms/Sharding/Search.h"

#include "SearchProblem.h"
#include "cleave/Transforms/Sharding/Passes.h"

namespace cleave {
#define GEN_PASS_DEF_SEARCH
#include "cleave/Transforms/Sharding/Passes.h.inc"
} // namespace cleave

using namespace mlir;
using namespace cleave;
using namespace cleave::sharding;

//===----------------------------------------------------------------------===//
// Axes
//===----------------------------------------------------------------------===//

dist::MeshAttr cleave::parseMesh(MLIRContext *context, StringRef text,
                                 std::string &error) {
  SmallVector<StringAttr> names;
  SmallVector<int64_t> sizes;
  int64_t ranks = 1;
  SmallVector<StringRef> entries;
  if (!text.empty())
    text.split(entries, ',');
  for (StringRef entry : entries) {
    auto [name, number] = entry.split('=');
    int64_t size;
    bool known = !name.empty() && llvm::all_of(name, [](char c) {
      return std::isalnum(c) || c == '_';
    });
    if (!known || number.getAsInteger(10, size) || size < 1 || size > 4096) {
      error = ("an axis is name=size, with a size of 1 to 4096, got: " + entry).str();
      return nullptr;
    }
    if (name == "pp" && size > 1) {
      error = ("axis \"pp\" of size " + number +
               " asks for pipeline stages, which are not made yet; leave it out, or give its "
               "ranks to another axis")
                  .str();
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

static bool isDataAxis(StringRef name) {
  return name == "dp" || name == "sp" || name == "cp";
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

static SmallVector<Axis> axesOf(DimNames &names, func::FuncOp func,
                                dist::MeshAttr mesh) {
  SmallVector<Axis> axes;
  for (auto [i, name] : llvm::enumerate(mesh.getNames())) {
    int64_t size = mesh.getSizes()[i];
    unsigned parent = i;
    bool holds = !isDataAxis(name);
    if (size == 1)
      continue;
    int64_t outer = holds ? subAxisSize(names, func, size) : 0;
    if (!outer) {
      axes.push_back({name, size, holds, parent});
      continue;
    }
    axes.push_back({dist::subAxis(mesh, name, 1, outer), outer, holds, parent});
    axes.push_back(
        {dist::subAxis(mesh, name, outer, size / outer), size / outer, holds, parent});
  }
  return axes;
}

//===----------------------------------------------------------------------===//
// The answer
//===----------------------------------------------------------------------===//

/// One axis at a time, the others held, until nothing changes; data axes first.
static std::optional<Problem::Solution> descend(SearchProblem &search,
                                                ArrayRef<Axis> axes) {
  constexpr unsigned kRounds = 4;
  SmallVector<unsigned> parents;
  for (bool holds : {false, true})
    for (const Axis &axis : axes)
      if (axis.holdsWeights == holds && !llvm::is_contained(parents, axis.parent))
        parents.push_back(axis.parent);
  Held held;
  for (Operation *op : search.ops())
    held[op].assign(axes.size(), kNothing);

  std::optional<Problem::Solution> best;
  for (unsigned round = 0; round < kRounds; ++round) {
    std::optional<int64_t> before =
        best ? std::optional<int64_t>(best->cost) : std::nullopt;
    for (unsigned parent : parents) {
      for (auto &[op, choices] : held)
        for (auto [a, axis] : llvm::enumerate(axes))
          if (axis.parent == parent)
            choices[a] = std::nullopt;
      best = search.solve(held);
      if (!best)
        return std::nullopt;
      for (auto &[op, choices] : held)
        for (auto [a, choice] : llvm::enumerate(search.choices(op)))
          choices[a] = choice;
    }
    if (before == best->cost)
      break;
  }
  return best;
}

/// Says which axes cut nothing, and why.
static LogicalResult reportIdleAxes(func::FuncOp func, const SearchRequest &request,
                                    ArrayRef<Axis> axes, SearchProblem &search) {
  for (auto [i, name] : llvm::enumerate(request.mesh.getNames())) {
    int64_t size = request.mesh.getSizes()[i];
    bool cuts = size == 1;
    for (auto [a, axis] : llvm::enumerate(axes))
      cuts |= axis.parent == i && search.cuts(a);
    if (cuts)
      continue;
    auto severity = request.strict ? DiagnosticSeverity::Error : DiagnosticSeverity::Warning;
    func.getContext()->getDiagEngine().emit(func.getLoc(), severity)
        << "axis \"" << name.getValue() << "\" of size " << size << " cuts nothing: "
        << (isDataAxis(name) ? "it never cuts weights, and no other dimension"
                             : "no dimension")
        << " of this model saves more time when cut than moving its parts costs";
    if (request.strict)
      return failure();
  }
  return success();
}

FailureOr<SearchReport> cleave::searchShardings(func::FuncOp func,
                                                const SearchRequest &request) {
  DimNames names;
  if (failed(names.run(func)))
    return failure();
  SmallVector<Axis> axes = axesOf(names, func, request.mesh);
  if (axes.size() > kMaxAxes)
    return func.emitError("a mesh is searched over up to ")
           << kMaxAxes << " axes and sub-axes, got: " << request.mesh;

  SearchProblem search(func, names, axes, request);
  std::optional<Problem::Solution> solution = search.solve(Held());
  if (!solution)
    solution = descend(search, axes);
  if (!solution)
    return func.emitError("the tables of the search grow too large over ")
           << request.mesh << "; use fewer axes";
  search.annotate(request.mesh);

  if (failed(reportIdleAxes(func, request, axes, search)))
    return failure();
  return SearchReport{solution->cost,
                      names.getNumNames(),
                      static_cast<unsigned>(solution->values.size()),
                      solution->computedSteps,
                      solution->width,
                      solution->largestTable};
}

FailureOr<DictionaryAttr> cleave::findWeightCuts(func::FuncOp decode,
                                                 SearchRequest request) {
  request.strict = false;
  ScopedDiagnosticHandler noWarnings(decode.getContext(), [](Diagnostic &diagnostic) {
    return success(diagnostic.getSeverity() == DiagnosticSeverity::Warning);
  });
  if (failed(searchShardings(decode, request)))
    return failure();
  return decode->getParentOfType<ModuleOp>()->getAttrOfType<DictionaryAttr>(
      kWeightShardings);
}

namespace {

struct Search : cleave::impl::SearchBase<Search> {
  using SearchBase::SearchBase;

  void runOnOperation() override {
    std::string error;
    SearchRequest request;
    request.mesh = parseMesh(&getContext(), mesh, error);
    if (!request.mesh) {
      getOperation().emitError(error);
      return signalPassFailure();
    }
    request.strict = strict;
    if (pinned)
      request.pins = getOperation()->getAttrOfType<DictionaryAttr>(kWeightShardings);
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (failed(searchShardings(func, request)))
        return signalPassFailure();
  }
};

} // namespace
