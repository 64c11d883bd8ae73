//===- Schemas.cpp - the generated table, searched ------------------------===//

#include "cleave/Frontend/Schemas.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>
#include <map>
#include <vector>

using namespace cleave;

namespace {
/// The table in the order it was written: by domain, name and version.
struct Table {
  int64_t newest = 0;
  std::vector<Schema> schemas;
  std::vector<SchemaAttribute> attributes;
  std::vector<size_t> firstAttribute;
  std::map<std::pair<llvm::StringRef, llvm::StringRef>, std::vector<const Schema *>> byName;

  /// Of the last attribute.
  template <typename T> void addDefault(T value) {
    SchemaAttribute &attribute = attributes.back();
    attribute.hasDefault = true;
    if constexpr (std::is_convertible_v<T, const char *>)
      attribute.stringValue = value;
    else if (attribute.kind == SchemaAttribute::Int)
      attribute.intValue = static_cast<int64_t>(value);
    else
      attribute.floatValue = static_cast<float>(value);
  }

  Table() {
#define NEWEST(version) newest = version;
#define SCHEMA(domain, name, since, leastIn, mostIn, leastOut, mostOut)                            \
  schemas.push_back({domain, name, since, leastIn, mostIn, leastOut, mostOut, {}});                \
  firstAttribute.push_back(attributes.size());
#define ATTRIBUTE(name, kind, required)                                                            \
  attributes.push_back({SchemaAttribute::kind, name, required});
#define DEFAULT(value) addDefault(value);
#include "Schemas.inc"
#undef NEWEST
#undef SCHEMA
#undef ATTRIBUTE
#undef DEFAULT
    firstAttribute.push_back(attributes.size());
    for (size_t i = 0; i < schemas.size(); ++i) {
      schemas[i].attributes =
          llvm::ArrayRef(attributes)
              .slice(firstAttribute[i], firstAttribute[i + 1] - firstAttribute[i]);
      byName[{schemas[i].domain, schemas[i].name}].push_back(&schemas[i]);
    }
  }
};
} // namespace

static const Table &table() {
  static const Table instance;
  return instance;
}

const SchemaAttribute *Schema::find(llvm::StringRef attribute) const {
  const auto *found = llvm::find_if(
      attributes, [&](const SchemaAttribute &entry) { return entry.name == attribute; });
  return found == attributes.end() ? nullptr : found;
}

const Schema *cleave::findSchema(llvm::StringRef domain, llvm::StringRef name, int64_t version) {
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
