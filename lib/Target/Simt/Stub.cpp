#include "cleave/Target/Simt.h"
llvm::Expected<std::vector<char>> cleave::makeSimtImage(llvm::Module &) {
  return llvm::createStringError("no simulator yet");
}
