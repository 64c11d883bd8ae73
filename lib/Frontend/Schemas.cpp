//===- Schemas.cpp - the generated table, searched ------------------------===//

#include "cleave/Frontend/Schemas.h"

#include "llvm/ADT/StringMap.h"

#include <cmath>
#include <map>
#include <vector>

using namespace cleave;

namespace {
/// The table in the order it was written: by domain, name and version.
struct Table {
  int64_t newest = 0;
  std::vector<Schema> schemas;
  std::vector<AttributeDefault> defaults;
  std::vector<size_t> firstDefault;
  std::map<std::pair<llvm::StringRef, llvm::StringRef>, std::vector<const Schema *>> byName;

  Table() {
    auto addDefault = [&](const char *name, AttributeDefault::Kind kind, auto value) {
      AttributeDefault entry{kind, name, 0, 0, {}};
      if constexpr (std::is_convertible_v<decltype(value), const char *>)
        entry.stringValue = value;
      else if (kind == AttributeDefault::Int)
        entry.intValue = static_cast<int64_t>(value);
      else
        entry.floatValue = static_cast<float>(value);
      defaults.push_back(entry);
    };
#define NEWEST(version) newest = version;
#define SCHEMA(domain, name, since)                                                      \
  schemas.push_back({domain, name, since, {}});                                          \
  firstDefault.push_back(defaults.size());
#define DEFAULT(name, kind, value) addDefault(name, AttributeDefault::kind, value);
#include "Schemas.inc"
#undef NEWEST
#undef SCHEMA
#undef DEFAULT
    firstDefault.push_back(defaults.size());
    for (size_t i = 0; i < schemas.size(); ++i) {
      schemas[i].defaults = llvm::ArrayRef(defaults).slice(
          firstDefault[i], firstDefault[i + 1] - firstDefault[i]);
      byName[{schemas[i].domain, schemas[i].name}].push_back(&schemas[i]);
    }
  }
};
} // namespace

static const Table &table() {
  static const Table instance;
  return instance;
}

const Schema *cleave::findSchema(llvm::StringRef domain, llvm::StringRef name,
                                 int64_t version) {
  auto versions = table().byName.find({domain == "ai.onnx" ? "" : domain, name});
  if (versions == table().byName.end())
    return nullptr;
  const Schema *best = nullptr;
  for (const Schema *schema : versions->second)
    if (schema->sinceVersion <= version)
      best = schema;
  return best;
}

int64_t cleave::newestOpset() { return table().newest; }
