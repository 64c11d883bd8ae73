//===- Page.h - what the pages that Cleave writes share -------*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_PAGE_H
#define CLEAVE_SUPPORT_PAGE_H

#include "llvm/ADT/StringRef.h"

#include <string>

namespace cleave {

/// The beginning of a page that fetches nothing: `title`, the style of all pages, and
/// the rules of this one, which give its bars their colors.
std::string pageHead(llvm::StringRef title, llvm::StringRef style);

/// `text` as it may stand between tags and in attributes.
std::string escapeHtml(llvm::StringRef text);

/// As in `1.5 KiB`.
std::string sizeText(uint64_t bytes);

} // namespace cleave

#endif // CLEAVE_SUPPORT_PAGE_H
