//===- Mesh.cpp - axes, ranks, groups -------------------------------------===//

#include "Dist/Dist.h"

#include "mlir/IR/Builders.h"

#include <map>

using namespace mlir;
using namespace cleave::dist;

//===----------------------------------------------------------------------===//
// Axes
//===----------------------------------------------------------------------===//

namespace {

/// An axis as its string says: size 0 where it means the whole of `base`.
struct AxisRef {
  StringRef base;
  int64_t outer = 1, size = 0;
};

} // namespace

static std::optional<AxisRef> parseAxis(StringRef text) {
  auto [base, rest] = text.split(":(");
  if (rest.empty())
    return AxisRef{text};
  AxisRef axis{base};
  if (rest.consumeInteger(10, axis.outer) || !rest.consume_front(")") ||
      rest.getAsInteger(10, axis.size) || axis.outer < 1 || axis.size < 1)
    return std::nullopt;
  return axis;
}

/// Place and size of `axis` in `mesh`, and how many of its ranks lie inside.
static bool resolve(MeshAttr mesh, StringAttr name, unsigned &index, int64_t &size,
                    int64_t &inner) {
  std::optional<AxisRef> axis = parseAxis(name.getValue());
  if (!axis)
    return false;
  for (auto [i, base] : llvm::enumerate(mesh.getNames())) {
    if (base.getValue() != axis->base)
      continue;
    int64_t whole = mesh.getSizes()[i];
    index = i;
    size = axis->size ? axis->size : whole;
    inner = axis->size ? whole / (axis->outer * axis->size) : 1;
    return whole % (axis->size ? axis->outer * axis->size : 1) == 0;
  }
  return false;
}

StringAttr cleave::dist::subAxis(MeshAttr mesh, StringAttr axis, int64_t outer, int64_t size) {
  std::string text = (axis.getValue() + ":(" + Twine(outer) + ")" + Twine(size)).str();
  return StringAttr::get(mesh.getContext(), text);
}

SmallVector<StringAttr> cleave::dist::joinAxes(MeshAttr mesh, ArrayRef<StringAttr> axes) {
  SmallVector<StringAttr> joined;
  for (StringAttr name : axes) {
    std::optional<AxisRef> next = parseAxis(name.getValue());
    std::optional<AxisRef> last =
        joined.empty() ? std::nullopt : parseAxis(joined.back().getValue());
    bool follows = last && next && last->size && next->size && last->base == next->base &&
                   last->outer * last->size == next->outer;
    if (!follows) {
      joined.push_back(name);
      continue;
    }
    StringAttr base = StringAttr::get(mesh.getContext(), last->base);
    int64_t size = last->size * next->size;
    joined.back() = last->outer == 1 && *mesh.getGroupSize(base) == size
                        ? base
                        : subAxis(mesh, base, last->outer, size);
  }
  return joined;
}

SmallVector<StringAttr> cleave::dist::axisList(ArrayAttr axes) {
  return llvm::to_vector(axes.getAsRange<StringAttr>());
}

//===----------------------------------------------------------------------===//
// Parts
//===----------------------------------------------------------------------===//

Part cleave::dist::partOf(int64_t n, int64_t p, int64_t member) {
  int64_t chunk = (n + p - 1) / p;
  int64_t begin = std::min(n, member * chunk);
  return {begin, std::min(n, begin + chunk) - begin};
}

SmallVector<int64_t> cleave::dist::partSizes(int64_t n, int64_t p) {
  SmallVector<int64_t> sizes;
  for (int64_t member = 0; member < p; ++member)
    sizes.push_back(partOf(n, p, member).size);
  return sizes;
}

//===----------------------------------------------------------------------===//
// MeshAttr
//===----------------------------------------------------------------------===//

LogicalResult MeshAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                               ArrayRef<StringAttr> names, ArrayRef<int64_t> sizes) {
  // C1
  for (auto [i, name] : llvm::enumerate(names)) {
    if (name.getValue().empty() || llvm::is_contained(names.take_front(i), name))
      return emitError() << "an axis has no name of its own, got: " << name;
    if (sizes[i] < 1)
      return emitError() << "axis " << name << " has no rank, got size: " << sizes[i];
  }
  return success();
}

Attribute MeshAttr::parse(AsmParser &parser, Type) {
  SmallVector<StringAttr> names;
  SmallVector<int64_t> sizes;
  auto parseOne = [&]() -> ParseResult {
    std::string name;
    if (parser.parseString(&name) || parser.parseEqual() ||
        parser.parseInteger(sizes.emplace_back()))
      return failure();
    names.push_back(parser.getBuilder().getStringAttr(name));
    return success();
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::LessGreater, parseOne))
    return {};
  return parser.getChecked<MeshAttr>(parser.getContext(), ArrayRef<StringAttr>(names),
                                     ArrayRef<int64_t>(sizes));
}

void MeshAttr::print(AsmPrinter &printer) const {
  printer << "<";
  llvm::interleaveComma(llvm::zip(getNames(), getSizes()), printer, [&](auto axis) {
    printer << std::get<0>(axis) << "=" << std::get<1>(axis);
  });
  printer << ">";
}

int64_t MeshAttr::getNumRanks() const {
  int64_t ranks = 1;
  for (int64_t size : getSizes())
    ranks *= size;
  return ranks;
}

std::optional<int64_t> MeshAttr::getGroupSize(ArrayRef<StringAttr> axes) const {
  int64_t group = 1;
  for (StringAttr axis : axes) {
    unsigned index;
    int64_t size, inner;
    if (!resolve(*this, axis, index, size, inner))
      return std::nullopt;
    group *= size;
  }
  return group;
}

SmallVector<int64_t> MeshAttr::getCoordinates(int64_t rank) const {
  SmallVector<int64_t> coordinates(getSizes().size());
  for (int64_t i = coordinates.size() - 1; i >= 0; --i) {
    coordinates[i] = rank % getSizes()[i];
    rank /= getSizes()[i];
  }
  return coordinates;
}

int64_t MeshAttr::getMember(ArrayRef<StringAttr> axes, int64_t rank) const {
  SmallVector<int64_t> coordinates = getCoordinates(rank);
  int64_t member = 0;
  for (StringAttr axis : axes) {
    unsigned index;
    int64_t size, inner;
    if (resolve(*this, axis, index, size, inner))
      member = member * size + coordinates[index] / inner % size;
  }
  return member;
}

SmallVector<SmallVector<int64_t>> MeshAttr::getGroups(ArrayRef<StringAttr> axes) const {
  // Ranks whose coordinates agree once those of `axes` are taken out.
  SmallVector<SmallVector<int64_t>> groups;
  std::map<SmallVector<int64_t>, size_t> numbers;
  int64_t groupSize = getGroupSize(axes).value_or(1);
  for (int64_t rank = 0; rank < getNumRanks(); ++rank) {
    SmallVector<int64_t> key = getCoordinates(rank);
    for (StringAttr axis : axes) {
      unsigned index;
      int64_t size, inner;
      if (resolve(*this, axis, index, size, inner))
        key[index] -= key[index] / inner % size * inner;
    }
    auto [entry, isNew] = numbers.try_emplace(std::move(key), groups.size());
    if (isNew)
      groups.emplace_back(groupSize);
    groups[entry->second][getMember(axes, rank)] = rank;
  }
  return groups;
}
