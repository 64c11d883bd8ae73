//===- Index.cpp - addresses as sums of loop variables --------------------===//

#include "Index.h"

using namespace cleave::emit;

Index Index::operator+(const Index &other) const {
  Index sum(constant + other.constant);
  auto a = terms.begin(), b = other.terms.begin();
  while (a != terms.end() || b != other.terms.end()) {
    if (b == other.terms.end() || (a != terms.end() && a->first < b->first)) {
      sum.terms.push_back(*a++);
    } else if (a == terms.end() || b->first < a->first) {
      sum.terms.push_back(*b++);
    } else {
      if (a->second + b->second != 0)
        sum.terms.push_back({a->first, a->second + b->second});
      ++a, ++b;
    }
  }
  return sum;
}

Index Index::operator*(int64_t factor) const {
  Index product(constant * factor);
  if (factor != 0)
    for (auto [symbol, by] : terms)
      product.terms.push_back({symbol, by * factor});
  return product;
}

int64_t Index::factor(Symbol symbol) const {
  for (auto [s, by] : terms)
    if (s == symbol)
      return by;
  return 0;
}
