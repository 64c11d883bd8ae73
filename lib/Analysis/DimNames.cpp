//===- DimNames.cpp - equal dimensions have one name ----------------------===//
//
// Two products of one size are aligned major to minor; where sizes differ the
// larger leaf is split in place, so everything that shares it sees the split.
// Two concatenations are refined to common boundaries. Where structures
// contradict (48 as 6 * 8 and as 4 * 12) names stay apart: fewer cuts, none wrong.
//
//===----------------------------------------------------------------------===//

#include "cleave/Analysis/DimNames.h"

#include "Nn/Nn.h"

#include <numeric>

using namespace mlir;
using namespace cleave;

//===----------------------------------------------------------------------===//
// Structure of names
//===----------------------------------------------------------------------===//

static DimName *find(DimName *name) {
  DimName *root = name;
  while (root->up)
    root = root->up;
  while (name->up) {
    DimName *next = name->up;
    name->up = root;
    name = next;
  }
  return root;
}

static void flattenInto(DimName *name, SmallVectorImpl<DimName *> &out) {
  name = find(name);
  if (name->size < 2)
    return;
  if (name->kind != DimName::Product) {
    out.push_back(name);
    return;
  }
  for (DimName *kid : name->kids)
    flattenInto(kid, out);
}

/// Products opened, sizes below 2 dropped: leaves and concatenations.
static SmallVector<DimName *, 4> flatten(ArrayRef<DimName *> names) {
  SmallVector<DimName *, 4> out;
  for (DimName *name : names)
    flattenInto(name, out);
  return out;
}

static void segmentsInto(DimName *name, SmallVectorImpl<DimName *> &out) {
  name = find(name);
  if (name->kind != DimName::Concat) {
    out.push_back(name);
    return;
  }
  for (DimName *kid : name->kids)
    segmentsInto(kid, out);
}

/// Whether `inner` occurs in `outer`.
static bool occurs(DimName *inner, DimName *outer) {
  outer = find(outer);
  return outer == inner ||
         llvm::any_of(outer->kids, [&](DimName *kid) { return occurs(inner, kid); });
}

namespace {

/// How many indices of a dimension hold a name.
struct Held {
  DimName *name;
  int64_t indices;
};

} // namespace

/// The leaves in a name, and how many of its indices hold each. Of a product that
/// holds a leaf twice the first counts.
static SmallVector<Held, 4> heldNames(DimName *name) {
  name = find(name);
  if (name->size < 2)
    return {};
  if (name->kind == DimName::Leaf)
    return {{name, name->size}};
  SmallVector<Held, 4> out;
  auto entry = [&](DimName *leaf) {
    return llvm::find_if(out, [&](Held &held) { return held.name == leaf; });
  };
  if (name->kind == DimName::Product) {
    for (DimName *factor : flatten(name))
      for (Held held : heldNames(factor))
        if (entry(held.name) == out.end())
          out.push_back({held.name, held.indices * (name->size / factor->size)});
    return out;
  }
  for (DimName *kid : name->kids)
    for (Held held : heldNames(kid)) {
      auto *it = entry(held.name);
      if (it == out.end())
        out.push_back(held);
      else
        it->indices += held.indices;
    }
  return out;
}

static int64_t millionths(Held held, DimName *of) {
  return held.indices == of->size ? kWhole : held.indices * kWhole / of->size;
}

/// A cut in part has to be worth it.
static constexpr int64_t kLeastHeld = 300000;

static void addCuts(int64_t dim, DimName *name, std::vector<Cut> &cuts) {
  for (auto [position, factor] : llvm::enumerate(flatten(name)))
    for (Held held : heldNames(factor))
      cuts.push_back({dim, static_cast<unsigned>(position), held.name, millionths(held, factor)});
}

//===----------------------------------------------------------------------===//
// Union
//===----------------------------------------------------------------------===//

DimName *DimNames::make(int64_t size) {
  arena.push_back({size, static_cast<unsigned>(arena.size())});
  return &arena.back();
}

/// Aligns two products of one size.
void DimNames::unify(Names a, Names b) {
  while (true) {
    a = flatten(a);
    b = flatten(b);
    size_t same = 0;
    while (same < a.size() && same < b.size() && a[same] == b[same])
      ++same;
    a.erase(a.begin(), a.begin() + same);
    b.erase(b.begin(), b.begin() + same);
    if (a.empty() || b.empty())
      return;

    DimName *large = a.front(), *small = b.front();
    if (large->size == small->size) {
      join(large, small);
      a.erase(a.begin());
      b.erase(b.begin());
      continue;
    }
    if (large->size < small->size)
      std::swap(large, small);
    bool divides = large->size % small->size == 0;
    if (large->kind == DimName::Leaf && divides) {
      large->kids = {make(small->size), make(large->size / small->size)};
      large->kind = DimName::Product;
      continue;
    }
    // 6 * 8 against 4 * 12 share an outer 2, and nothing behind it.
    int64_t common = std::gcd(large->size, small->size);
    if (common > 1 && !divides && large->kind == DimName::Leaf && small->kind == DimName::Leaf) {
      DimName *outer = make(common);
      for (DimName *name : {large, small}) {
        name->kids = {outer, make(name->size / common)};
        name->kind = DimName::Product;
      }
    }
    return;
  }
}

/// Makes two names of one size one. False when their structures contradict.
bool DimNames::join(DimName *a, DimName *b) {
  a = find(a);
  b = find(b);
  if (a == b)
    return true;
  if (a->size != b->size)
    return false;
  if (a->kind != DimName::Leaf)
    std::swap(a, b);
  if (a->kind == DimName::Leaf) {
    if (occurs(a, b))
      return false;
    a->up = b;
    return true;
  }
  if (a->kind == DimName::Product && b->kind == DimName::Product) {
    unify({a}, {b});
    return true;
  }
  if (a->kind == DimName::Concat && b->kind == DimName::Concat)
    return joinConcat(a, b);

  // [3, i] and (i | i | i)
  DimName *product = a->kind == DimName::Product ? a : b;
  DimName *concat = product == a ? b : a;
  Names factors = flatten(product), segments;
  segmentsInto(concat, segments);
  bool equal = llvm::all_of(
      segments, [&](DimName *segment) { return segment->size == segments.front()->size; });
  if (!equal || factors.front()->size != static_cast<int64_t>(segments.size()))
    return false;
  for (DimName *segment : segments)
    unify(Names(llvm::drop_begin(factors)), {segment});
  return true;
}

bool DimNames::joinConcat(DimName *a, DimName *b) {
  while (true) {
    Names left, right;
    segmentsInto(a, left);
    segmentsInto(b, right);
    bool refined = false, joined = true;
    for (auto [x, y] : llvm::zip(left, right)) {
      if (x->size == y->size) {
        joined &= join(x, y);
        continue;
      }
      DimName *large = x->size > y->size ? x : y, *small = large == x ? y : x;
      if (large->kind != DimName::Leaf)
        return false;
      large->kids = {make(small->size), make(large->size - small->size)};
      large->kind = DimName::Concat;
      refined = true;
      break;
    }
    if (refined)
      continue;
    a = find(a);
    b = find(b);
    if (joined && a != b && !occurs(a, b) && !occurs(b, a))
      a->up = b;
    return joined;
  }
}

//===----------------------------------------------------------------------===//
// From rules to names
//===----------------------------------------------------------------------===//

static Value valueAt(Operation *op, int64_t number) {
  int64_t operands = op->getNumOperands();
  return number < operands ? op->getOperand(number) : op->getResult(number - operands);
}

DimNames::Names &DimNames::namesOf(Value value) {
  auto [it, isNew] = dims.try_emplace(value);
  if (isNew)
    if (auto type = dyn_cast<RankedTensorType>(value.getType()))
      for (int64_t size : type.getShape())
        it->second.push_back(make(size));
  return it->second;
}

DimNames::Names DimNames::namesOf(Operation *op, const nn::DimGroup &group) {
  Names &all = namesOf(valueAt(op, group.value));
  Names names;
  for (int64_t dim : group.dims)
    names.push_back(all[dim]);
  if (group.split.empty())
    return names;
  Names factors;
  for (int64_t size : group.split)
    factors.push_back(make(size));
  unify(names, factors);
  splitNames[op].push_back(factors);
  return {factors[group.part]};
}

LogicalResult DimNames::name(Operation *op) {
  auto source = dyn_cast<nn::ShardingRuleOpInterface>(op);
  if (!source)
    return op->emitOpError("has no sharding rule");
  nn::ShardingRule &rule = rules[op] = source.getShardingRule();
  for (const nn::Factor &factor : rule.factors) {
    if (factor.kind == nn::FactorKind::Concatenation) {
      Names parts, segments;
      for (const nn::DimGroup &group : llvm::drop_begin(factor.groups)) {
        parts.push_back(group.value == nn::kNoValue ? make(group.dims.front())
                                                    : namesOf(op, group).front());
        if (parts.back()->size > 0)
          segments.push_back(parts.back());
      }
      concatParts[op].push_back(parts);
      DimName *whole = namesOf(op, factor.groups.front()).front();
      if (segments.size() == 1) {
        join(whole, segments.front());
      } else if (segments.size() > 1) {
        DimName *joined = make(whole->size);
        joined->kind = DimName::Concat;
        joined->kids.assign(segments.begin(), segments.end());
        join(whole, joined);
      }
      continue;
    }
    Names first = namesOf(op, factor.groups.front());
    for (const nn::DimGroup &group : llvm::drop_begin(factor.groups))
      unify(first, namesOf(op, group));
  }
  return success();
}

LogicalResult DimNames::run(func::FuncOp func) {
  for (Value argument : func.getArguments())
    namesOf(argument);
  for (Operation &op : func.getBody().front().without_terminator()) {
    for (Value result : op.getResults())
      namesOf(result);
    if (failed(name(&op)))
      return failure();
  }
  for (Operation &op : func.getBody().front().without_terminator())
    expand(&op);
  return success();
}

//===----------------------------------------------------------------------===//
// From names to cuts
//===----------------------------------------------------------------------===//

ArrayRef<Cut> DimNames::cuts(Value value) {
  auto [it, isNew] = valueCuts.try_emplace(value);
  if (isNew)
    for (auto [dim, name] : llvm::enumerate(namesOf(value)))
      addCuts(dim, name, it->second);
  return it->second;
}

SmallVector<const DimName *> DimNames::dimension(Value value, int64_t dim) {
  Names factors = flatten(namesOf(value)[dim]);
  return SmallVector<const DimName *>(factors.begin(), factors.end());
}

static unsigned cutNumber(ArrayRef<Cut> cuts, int64_t dim, unsigned position, const DimName *name) {
  for (auto [i, cut] : llvm::enumerate(cuts))
    if (cut.dim == dim && cut.position == position && cut.name == name)
      return i;
  return ~0u;
}

namespace {

/// A factor of a dimension and its place.
struct Placed {
  int64_t dim;
  unsigned position;
  DimName *name;
};

} // namespace

/// Places at which all lists agree: their common prefix, then common suffix.
static SmallVector<SmallVector<Placed, 4>> alignedPlaces(ArrayRef<SmallVector<Placed, 4>> lists) {
  SmallVector<SmallVector<Placed, 4>> out;
  size_t shortest = lists.front().size();
  for (const auto &list : lists)
    shortest = std::min(shortest, list.size());
  auto take = [&](auto index) {
    SmallVector<Placed, 4> places;
    for (const auto &list : lists) {
      const Placed &placed = list[index(list)];
      if (placed.name != lists.front()[index(lists.front())].name)
        return false;
      places.push_back(placed);
    }
    out.push_back(std::move(places));
    return true;
  };
  size_t front = 0, back = 1;
  while (front < shortest && take([&](auto &) { return front; }))
    ++front;
  while (back + front <= shortest && take([&](auto &list) { return list.size() - back; }))
    ++back;
  return out;
}

void DimNames::expandAligned(Operation *op, const nn::Factor &factor) {
  SmallVector<SmallVector<Placed, 4>> lists;
  size_t split = 0;
  for (const nn::DimGroup &group : factor.groups) {
    SmallVector<Placed, 4> list;
    Names &all = namesOf(valueAt(op, group.value));
    for (int64_t dim : group.dims)
      for (auto [position, name] : llvm::enumerate(flatten(all[dim])))
        list.push_back({dim, static_cast<unsigned>(position), name});
    if (!group.split.empty()) {
      // Of the whole list, what belongs to the meant part.
      Names &parts = splitNames[op][splitCursor + split++];
      size_t begin = flatten(ArrayRef(parts).take_front(group.part)).size();
      Names meant = flatten(parts[group.part]);
      SmallVector<Placed, 4> slice;
      for (size_t i = 0; i < meant.size() && begin + i < list.size(); ++i)
        if (list[begin + i].name == meant[i])
          slice.push_back(list[begin + i]);
      list = slice.size() == meant.size() ? slice : SmallVector<Placed, 4>();
    }
    lists.push_back(std::move(list));
  }
  splitCursor += split;

  bool mayBePartial = factor.kind == nn::FactorKind::Parallel;
  for (auto &places : alignedPlaces(lists)) {
    // A rank's part has to be one run of indices where they are looked up, and
    // where the first of equal elements is meant.
    bool isRun = factor.kind == nn::FactorKind::Lookup ||
                 (factor.kind == nn::FactorKind::Special && lists.size() == 1);
    if (isRun && (places.front().position != 0 || places.front().name->kind != DimName::Leaf))
      continue;
    for (Held held : heldNames(places.front().name)) {
      int64_t amount = millionths(held, places.front().name);
      if (amount < (mayBePartial ? kLeastHeld : kWhole))
        continue;
      CutFactor cut{factor.kind, held.name->size, amount, {}, factor.extraBytes};
      for (auto [group, placed] : llvm::zip(factor.groups, places))
        cut.places.push_back(
            {static_cast<unsigned>(group.value),
             cutNumber(cuts(valueAt(op, group.value)), placed.dim, placed.position, held.name)});
      llvm::sort(cut.places);
      opFactors[op].push_back(std::move(cut));
    }
  }
}

/// By how many positions a part's factors stand before those of the whole: 0 where
/// the whole is the parts one behind the other, or all of it is one part; 1 where
/// it is (count of parts, part). Nothing where the structures contradict.
static std::optional<unsigned> concatShift(DimName *whole, ArrayRef<DimName *> parts) {
  SmallVector<DimName *, 4> held, joined, factors = flatten(whole);
  for (DimName *part : parts)
    if (find(part)->size > 0)
      held.push_back(part);
  if (held.size() == 1)
    return factors == flatten(held.front()) ? std::optional(0u) : std::nullopt;
  for (DimName *part : held)
    segmentsInto(part, joined);
  SmallVector<DimName *, 4> segments;
  segmentsInto(whole, segments);
  if (segments == joined)
    return 0;
  if (factors.empty() || factors.front()->size != static_cast<int64_t>(held.size()))
    return std::nullopt;
  for (DimName *part : held)
    if (ArrayRef(flatten(part)) != ArrayRef(factors).drop_front())
      return std::nullopt;
  return 1;
}

void DimNames::expandConcat(Operation *op, const nn::Factor &factor) {
  const nn::DimGroup &whole = factor.groups.front();
  Names &parts = concatParts[op][concatCursor++];
  DimName *wholeName = namesOf(op, whole).front();
  std::optional<unsigned> shift = concatShift(wholeName, parts);
  if (!shift)
    return;
  bool isConcat = find(wholeName)->kind == DimName::Concat;
  for (auto [number, cut] : llvm::enumerate(cuts(valueAt(op, whole.value)))) {
    if (cut.dim != whole.dims.front() || cut.held < kLeastHeld || cut.position < *shift)
      continue;
    CutFactor out{nn::FactorKind::Parallel,
                  cut.name->size,
                  cut.held,
                  {{static_cast<unsigned>(whole.value), static_cast<unsigned>(number)}},
                  {}};
    bool complete = true;
    for (const nn::DimGroup &part : llvm::drop_begin(factor.groups)) {
      if (part.value == nn::kNoValue)
        continue;
      ArrayRef<Cut> partCuts = cuts(valueAt(op, part.value));
      const Cut *found = llvm::find_if(partCuts, [&](const Cut &other) {
        return other.dim == part.dims.front() && other.name == cut.name &&
               (isConcat || other.position + *shift == cut.position);
      });
      if (found != partCuts.end())
        out.places.push_back(
            {static_cast<unsigned>(part.value), static_cast<unsigned>(found - partCuts.begin())});
      else
        complete &= cut.held < kWhole;
    }
    if (!complete)
      continue;
    llvm::sort(out.places);
    opFactors[op].push_back(std::move(out));
  }
}

void DimNames::expand(Operation *op) {
  splitCursor = concatCursor = 0;
  for (const nn::Factor &factor : rules[op].factors)
    if (factor.kind == nn::FactorKind::Concatenation)
      expandConcat(op, factor);
    else
      expandAligned(op, factor);
}

//===----------------------------------------------------------------------===//
// From cuts to shardings
//===----------------------------------------------------------------------===//

using NamedAxes = SmallVector<std::pair<const DimName *, SmallVector<StringAttr, 2>>, 2>;

/// `name` cut where it holds one of `marks`, whole elsewhere. Of a product that
/// holds a name twice the first is cut.
static dist::ExtentAttr extentOf(MLIRContext *context, DimName *name, NamedAxes marks) {
  name = find(name);
  if (name->kind == DimName::Leaf || name->size < 2) {
    for (auto &[marked, axes] : marks)
      if (marked == name)
        return dist::ExtentAttr::get(context, name->size, axes);
    return dist::ExtentAttr::get(context, name->size);
  }
  SmallVector<dist::ExtentAttr> parts;
  if (name->kind == DimName::Concat) {
    for (DimName *kid : name->kids)
      parts.push_back(extentOf(context, kid, marks));
    return dist::ExtentAttr::get(context, true, parts);
  }
  for (DimName *factor : flatten(name)) {
    parts.push_back(extentOf(context, factor, marks));
    for (Held held : heldNames(factor))
      llvm::erase_if(marks, [&](auto &mark) { return mark.first == held.name; });
  }
  return dist::ExtentAttr::get(context, false, parts);
}

dist::ShardingAttr DimNames::sharding(Value value, const Marks &marks,
                                      ArrayRef<StringAttr> partial) {
  MLIRContext *context = value.getContext();
  ArrayRef<Cut> all = cuts(value);
  SmallVector<dist::ExtentAttr> extents;
  for (auto [dim, name] : llvm::enumerate(namesOf(value))) {
    SmallVector<dist::ExtentAttr> parts;
    for (auto [position, factor] : llvm::enumerate(flatten(name))) {
      NamedAxes here;
      for (auto [number, axis] : marks) {
        const Cut &cut = all[number];
        if (cut.dim != static_cast<int64_t>(dim) || cut.position != position)
          continue;
        auto *it = llvm::find_if(here, [&](auto &x) { return x.first == cut.name; });
        if (it == here.end())
          it = here.insert(here.end(), {cut.name, {}});
        it->second.push_back(axis);
      }
      parts.push_back(extentOf(context, factor, here));
    }
    extents.push_back(parts.empty() ? dist::ExtentAttr::get(context, find(name)->size)
                                    : dist::ExtentAttr::get(context, false, parts));
  }
  return dist::ShardingAttr::get(context, extents, partial);
}

unsigned DimNames::getNumNames() {
  return llvm::count_if(arena, [](const DimName &name) {
    return !name.up && name.kind == DimName::Leaf && name.size > 1;
  });
}
