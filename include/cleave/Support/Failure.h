//===- Failure.h - an error that no other request mends -------*- C++ -*-===//

#ifndef CLEAVE_SUPPORT_FAILURE_H
#define CLEAVE_SUPPORT_FAILURE_H

#include "llvm/Support/Error.h"
#include "llvm/Support/raw_ostream.h"

namespace cleave {

/// A run that began and failed, or a phase that fails and gives no reason, which is an
/// error of Cleave. All other errors are requests that cannot be met.
class Failure : public llvm::ErrorInfo<Failure> {
public:
  explicit Failure(std::string message) : message(std::move(message)) {}
  void log(llvm::raw_ostream &out) const override { out << message; }
  std::error_code convertToErrorCode() const override { return llvm::inconvertibleErrorCode(); }

  static inline char ID = 0;

private:
  std::string message;
};

/// Where no diagnostic tells why `what` fails.
inline llvm::Error unexplained(llvm::StringRef what) {
  return llvm::make_error<Failure>(
      (what + " fails without a reason; this is an error of Cleave, please report it").str());
}

} // namespace cleave

#endif // CLEAVE_SUPPORT_FAILURE_H
