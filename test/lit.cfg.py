"""How lit runs the tests of this folder."""

import os

import lit.formats

config.name = "Cleave"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "models", "unit", "bench", "CMakeLists.txt"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.build_root, "test")

config.environment["PATH"] = os.pathsep.join(
    [os.path.join(config.build_root, "bin"), config.llvm_tools, os.environ["PATH"]]
)
config.environment["FILECHECK_OPTS"] = "-enable-var-scope --allow-unused-prefixes=false"

config.substitutions.append(("%root", config.source_root))
config.substitutions.append(("%build", config.build_root))
config.substitutions.append(("%lib", os.path.join(config.build_root, "lib")))
config.substitutions.append(("%python", config.python))
config.substitutions.append(("%tblgen", os.path.join(config.llvm_tools, "llvm-tblgen")))
config.substitutions.append(("%mlir_include", config.mlir_include))
