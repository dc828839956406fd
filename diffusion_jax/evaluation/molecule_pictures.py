"""Pictures of molecules, by RDKit (`pip install 'diffusion_jax[molecules]'`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from diffusion_jax.molecules.atoms import molecule, placed
from diffusion_jax.molecules.catafusenes import planar

_PIXELS = 220  # the side of a molecule's panel


def molecules_picture(
    path: str | os.PathLike[str], codes: Sequence[str], captions: Sequence[str] = (), columns: int = 5
) -> None:
    """Draw molecules in rows, each above its caption.

    Args:
        path: of the PNG file.
        codes: of the molecules; planar ones are drawn as they lie on the lattice.
        captions: one a molecule, such as its property; or none.
        columns: molecules in a row, at most.

    Raises:
        ModuleNotFoundError: RDKit is missing.
        ValueError: there is no molecule, or another number of captions; or as `atoms.molecule`.
    """
    if not codes:
        raise ValueError("there is nothing to draw: no molecule")
    if captions and len(captions) != len(codes):
        raise ValueError(f"{len(codes)} molecules need as many captions or none, got {len(captions)}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    drawn = [placed(code) if planar(code) else molecule(code) for code in codes]
    from rdkit.Chem.Draw import rdMolDraw2D

    columns = min(columns, len(codes))
    rows = -(-len(codes) // columns)
    canvas = rdMolDraw2D.MolDraw2DCairo(columns * _PIXELS, rows * _PIXELS, _PIXELS, _PIXELS)
    options = canvas.drawOptions()
    options.legendFontSize = 18
    options.flagCloseContactsDist = -1  # fjords are no mistake
    canvas.DrawMolecules(drawn, legends=list(captions) or [""] * len(codes))
    canvas.FinishDrawing()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(canvas.GetDrawingText())
