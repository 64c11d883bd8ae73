//===- Eliminate.cpp - exact minimum of a sum of tables -------------------===//

#include "Eliminate.h"

#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <queue>
#include <set>

using namespace cleave::sharding;

unsigned Problem::addVariable(unsigned size) {
  domain.push_back(size);
  tablesOf.emplace_back();
  return domain.size() - 1;
}

unsigned Problem::intern(std::vector<int64_t> values) {
  std::string key(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(int64_t));
  auto [it, isNew] = interned.try_emplace(std::move(key), tables.size());
  if (isNew)
    tables.push_back(std::move(values));
  return it->second;
}

void Problem::place(Variables variables, unsigned table) {
  for (unsigned variable : variables)
    tablesOf[variable].push_back(placed.size());
  placed.push_back({std::move(variables), table});
}

Problem::Table Problem::makeTable(std::vector<int64_t> values) {
  int64_t least = *std::min_element(values.begin(), values.end());
  for (int64_t &value : values)
    value -= least;
  bool says = llvm::any_of(values, [](int64_t value) { return value != 0; });
  return {least, says ? intern(std::move(values)) : kNone};
}

void Problem::addTable(Variables variables, Table table) {
  base += table.minimum;
  if (table.number == kNone)
    return;
  // What has one value couples nothing: left in, a hub of pinned ops would join them all.
  llvm::erase_if(variables, [&](unsigned variable) { return domain[variable] == 1; });
  place(std::move(variables), table.number);
}

/// Sums the tables over (others…, variable) and takes the minimum over the last.
Problem::Result Problem::combine(unsigned variable, const Variables &others,
                                 llvm::ArrayRef<unsigned> placedTables) {
  ++computed;
  size_t rows = 1;
  for (unsigned other : others)
    rows *= domain[other];
  unsigned size = domain[variable];
  std::vector<int64_t> sum(rows * size, 0);

  llvm::SmallVector<unsigned, 6> index(others.size() + 1, 0);
  llvm::SmallVector<size_t, 6> stride(others.size() + 1);
  for (unsigned number : placedTables) {
    const Placed &entry = placed[number];
    const std::vector<int64_t> &table = tables[entry.table];
    std::fill(stride.begin(), stride.end(), 0);
    size_t step = 1;
    for (unsigned v : llvm::reverse(entry.variables)) {
      stride[v == variable ? others.size() : llvm::find(others, v) - others.begin()] = step;
      step *= domain[v];
    }
    std::fill(index.begin(), index.end(), 0);
    size_t from = 0, inner = stride.back();
    for (size_t row = 0; row < rows; ++row) {
      int64_t *out = &sum[row * size];
      for (unsigned i = 0; i < size; ++i)
        out[i] += table[from + i * inner];
      for (int d = static_cast<int>(others.size()) - 1; d >= 0; --d) {
        from += stride[d];
        if (++index[d] < domain[others[d]])
          break;
        from -= stride[d] * domain[others[d]];
        index[d] = 0;
      }
    }
  }

  std::vector<int64_t> least(rows);
  std::vector<unsigned> choice(rows);
  for (size_t row = 0; row < rows; ++row) {
    auto *best = std::min_element(&sum[row * size], &sum[row * size] + size);
    least[row] = *best;
    choice[row] = best - &sum[row * size];
  }
  int64_t minimum = *std::min_element(least.begin(), least.end());
  for (int64_t &value : least)
    value -= minimum;
  choices.push_back(std::move(choice));
  bool says = llvm::any_of(least, [](int64_t value) { return value != 0; });
  return {minimum, says ? intern(std::move(least)) : kNone,
          static_cast<unsigned>(choices.size() - 1)};
}

Problem::Step Problem::eliminate(unsigned variable, Variables others) {
  auto rankOf = [&](unsigned v) -> unsigned {
    return v == variable ? kNone : llvm::find(others, v) - others.begin();
  };
  // What the step reads, with variables by their place among the others.
  std::vector<std::pair<std::vector<unsigned>, unsigned>> reads;
  for (unsigned number : tablesOf[variable]) {
    std::vector<unsigned> signature;
    for (unsigned v : placed[number].variables)
      signature.push_back(rankOf(v));
    signature.push_back(placed[number].table);
    reads.push_back({std::move(signature), number});
  }
  llvm::sort(reads);
  std::string key;
  auto append = [&](unsigned value) {
    key.append(reinterpret_cast<const char *>(&value), sizeof value);
  };
  append(domain[variable]);
  append(others.size());
  for (unsigned other : others)
    append(domain[other]);
  llvm::SmallVector<unsigned, 8> numbers;
  for (auto &[signature, number] : reads) {
    append(signature.size());
    for (unsigned value : signature)
      append(value);
    numbers.push_back(number);
  }

  auto it = memo.find(key);
  if (it == memo.end())
    it = memo.emplace(std::move(key), combine(variable, others, numbers)).first;
  base += it->second.minimum;
  for (unsigned number : numbers)
    for (unsigned v : placed[number].variables)
      if (v != variable)
        llvm::erase(tablesOf[v], number);
  tablesOf[variable].clear();
  if (it->second.table != kNone && !others.empty())
    place(others, it->second.table);
  return {variable, std::move(others), it->second.choice};
}

std::optional<Problem::Solution> Problem::solve(double limit) {
  unsigned count = domain.size();
  std::vector<std::set<unsigned>> neighbours(count);
  for (const Placed &entry : placed)
    for (unsigned v : entry.variables)
      for (unsigned u : entry.variables)
        if (u != v)
          neighbours[v].insert(u);

  auto weight = [&](unsigned v) {
    double entries = domain[v];
    for (unsigned u : neighbours[v])
      entries *= domain[u];
    return entries;
  };
  using Entry = std::pair<double, unsigned>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  for (unsigned v = 0; v < count; ++v)
    queue.push({weight(v), v});

  Solution solution{0, std::vector<unsigned>(count, 0), 0, 0, 0, 0};
  std::vector<bool> done(count, false);
  std::vector<Step> steps;
  while (!queue.empty()) {
    auto [entries, v] = queue.top();
    queue.pop();
    if (done[v] || entries != weight(v))
      continue;
    if (entries > limit)
      return std::nullopt;
    done[v] = true;
    std::set<unsigned> around = std::move(neighbours[v]);
    neighbours[v].clear();
    solution.width = std::max<unsigned>(solution.width, around.size());
    solution.largestTable = std::max(solution.largestTable, entries);
    steps.push_back(eliminate(v, Variables(around.begin(), around.end())));
    for (unsigned u : around) {
      neighbours[u].erase(v);
      for (unsigned w : around)
        if (w != u)
          neighbours[u].insert(w);
    }
    for (unsigned u : around)
      queue.push({weight(u), u});
  }

  for (const Step &step : llvm::reverse(steps)) {
    size_t row = 0;
    for (unsigned other : step.others)
      row = row * domain[other] + solution.values[other];
    solution.values[step.variable] = choices[step.choice][row];
  }
  solution.cost = base;
  solution.steps = steps.size();
  solution.computedSteps = computed;
  return solution;
}
