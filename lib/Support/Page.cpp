//===- Page.cpp - what the pages that Cleave writes share -----------------===//

#include "cleave/Support/Page.h"

#include "llvm/Support/FormatVariadic.h"

using namespace cleave;

static constexpr llvm::StringLiteral kHead = R"(<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{0}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c2733; --soft: #6b7885; --line: #d9dfe5; --page: #fbfcfd }
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e3e8ed; --soft: #93a0ad; --line: #33404d; --page: #151b21 } }
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 68rem; margin: 2.5rem auto; padding: 0 1.2rem }
h1 {{ font-size: 1.5rem; margin: 0 } h2 {{ font-size: 1.1rem; margin: 2.4rem 0 .5rem }
p, .soft {{ color: var(--soft) } table {{ border-collapse: collapse; width: 100% }
th {{ text-align: left; font-weight: 600; color: var(--soft) } td, th {{ padding: .35rem .8rem .35rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top } .n {{ text-align: right; white-space: nowrap }
code {{ font: 13px ui-monospace, monospace; overflow-wrap: anywhere }
.bar {{ display: flex; height: .7rem; min-width: 8rem; margin-top: .4rem } .bar i {{ display: block }
.key i {{ display: inline-block; width: .7rem; height: .7rem; margin: 0 .3rem 0 1rem }
{1}
</style>
)";

std::string cleave::pageHead(llvm::StringRef title, llvm::StringRef style) {
  return llvm::formatv(kHead.data(), escapeHtml(title), style);
}

std::string cleave::escapeHtml(llvm::StringRef text) {
  std::string out;
  for (char c : text)
    switch (c) {
    case '&': out += "&amp;"; break;
    case '<': out += "&lt;"; break;
    case '>': out += "&gt;"; break;
    case '"': out += "&quot;"; break;
    default: out += c;
    }
  return out;
}

std::string cleave::sizeText(uint64_t bytes) {
  constexpr const char *kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double amount = bytes;
  unsigned unit = 0;
  for (; amount >= 1024 && unit < 4; ++unit)
    amount /= 1024;
  return llvm::formatv(unit ? "{0:f1} {1}" : "{0:f0} {1}", amount, kUnits[unit]);
}
