//===- Page.h - what the pages that Cleave writes share -------*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_PAGE_H
#define CLEAVE_SUPPORT_PAGE_H

#include "llvm/ADT/StringRef.h"

#include <string>

namespace cleave {

/// The beginning of a page that fetches nothing: its style, and `title`. `colors` are
/// those of its bars, as in `--weights: #2f6fb3;`.
std::string pageHead(llvm::StringRef title, llvm::StringRef colors);

/// `text` as it may stand between tags and in attributes.
std::string escapeHtml(llvm::StringRef text);

/// As in `1.5 KiB`.
std::string sizeText(uint64_t bytes);

} // namespace cleave

#endif // CLEAVE_SUPPORT_PAGE_H
