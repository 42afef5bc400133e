"""Puts the folder configs/ into the wheel, as flowseg/configs. All other settings are in pyproject.toml."""

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Builds one package more: configs/, under the name flowseg.configs."""

    def finalize_options(self) -> None:
        super().finalize_options()
        # In pyproject.toml this would hold for editable installs too. They would then find flowseg by an import hook
        # instead of its path, and a folder called flowseg in the working folder, such as a clone, would hide it.
        if not self.editable_mode:
            self.packages = [*self.packages, "flowseg.configs"]
            self.package_dir = {**self.package_dir, "flowseg.configs": "configs"}


setup(cmdclass={"build_py": BuildWithConfigs})
