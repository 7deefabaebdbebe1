import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless, generate_uid

from histomm.wsi.reader import find_slides, open_slide

SLIDE_CLASS = '1.2.840.10008.5.1.4.1.1.77.1.6'
TILE = 128


def dataset(**values):
    result = Dataset()
    for name, value in values.items():
        setattr(result, name, value)
    return result


def frames_of(image, by_column):
    """Tiles of the padded image in their order in the file."""
    rows, columns = -(-image.shape[0] // TILE), -(-image.shape[1] // TILE)
    padding = rows * TILE - image.shape[0], columns * TILE - image.shape[1]
    full = cv2.copyMakeBorder(image, 0, padding[0], 0, padding[1], cv2.BORDER_CONSTANT)
    places = [(row, column) for row in range(rows) for column in range(columns)]
    if by_column:
        places.sort(key=lambda place: place[::-1])
    return [full[r * TILE : (r + 1) * TILE, c * TILE : (c + 1) * TILE] for r, c in places]


def write_dicom(path, image, mpp=0.5, syntax=ExplicitVRLittleEndian, by_column=False, complete=True):
    """A slide of one level; if not ``complete``, without what readers go by."""
    frames = frames_of(image, by_column)
    series = generate_uid(entropy_srcs=[str(path.parent)])
    data = dataset(
        file_meta=FileMetaDataset(),
        SOPClassUID=SLIDE_CLASS,
        SOPInstanceUID=generate_uid(entropy_srcs=[str(path)]),
        Modality='SM',
        **dict.fromkeys(['StudyInstanceUID', 'SeriesInstanceUID', 'FrameOfReferenceUID'], series),
        **dict(SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation='RGB', PixelRepresentation=0),
        **dict(BitsAllocated=8, BitsStored=8, HighBit=7, NumberOfFrames=len(frames), Rows=TILE, Columns=TILE),
        **dict(TotalPixelMatrixColumns=image.shape[1], TotalPixelMatrixRows=image.shape[0]),
    )
    data.file_meta.MediaStorageSOPClassUID = SLIDE_CLASS
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    if complete:
        kind = ['ORIGINAL', 'PRIMARY', 'VOLUME', 'NONE']
        spacing = dataset(PixelSpacing=[mpp / 1000, mpp / 1000], SliceThickness=0.001)
        groups = dataset(
            PixelMeasuresSequence=[spacing], WholeSlideMicroscopyImageFrameTypeSequence=[dataset(FrameType=kind)]
        )
        light = dataset(CodeValue='111744', CodingSchemeDesignator='DCM', CodeMeaning='Brightfield illumination')
        optics = dataset(OpticalPathIdentifier='0', IlluminationTypeCodeSequence=[light])
        data.update(
            dataset(
                ImageType=kind,
                DimensionOrganizationType='TILED_FULL',
                SharedFunctionalGroupsSequence=[groups],
                OpticalPathSequence=[optics],
                ImageOrientationSlide=[0, 1, 0, 1, 0, 0],
                TotalPixelMatrixOriginSequence=[
                    dataset(XOffsetInSlideCoordinateSystem=0, YOffsetInSlideCoordinateSystem=0)
                ],
                **dict(FocusMethod='AUTO', ExtendedDepthOfField='NO', SpecimenLabelInImage='NO'),
                **dict(NumberOfOpticalPaths=1, TotalPixelMatrixFocalPlanes=1, LossyImageCompression='00'),
                **dict(ImagedVolumeWidth=1.0, ImagedVolumeHeight=1.0, ImagedVolumeDepth=0.001),
            )
        )
    if syntax == JPEGBaseline8Bit:
        data.PixelData = encapsulate([cv2.imencode('.jpg', frame[..., ::-1])[1].tobytes() for frame in frames])
    else:
        data.PixelData = b''.join(frame.tobytes() for frame in frames)
    data['PixelData'].VR = 'OB'
    if syntax == RLELossless:
        data.compress(RLELossless)
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope='module')
def image():
    coarse = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return cv2.resize(coarse, (450, 310), interpolation=cv2.INTER_CUBIC)


def check(slide, image):
    """The pixels are those of the image, across tiles and beyond the border."""
    height, width = image.shape[:2]
    assert slide.size == (width, height)
    np.testing.assert_array_equal(slide.read(0, 0, width, height), image)
    np.testing.assert_array_equal(slide.read(100, 120, 222, 55), image[120:175, 100:322])
    assert (slide.read(width - 5, 0, 20, 9)[:, 5:] == 255).all()


def test_file_that_openslide_reads(tmp_path, image):
    slide = open_slide(write_dicom(tmp_path / 'slide.dcm', image))
    assert (slide.backend, slide.mpp) == ('OpenSlide', pytest.approx(0.5))
    check(slide, image)


def test_folder_of_levels(tmp_path, image):
    pytest.importorskip('wsidicom')
    write_dicom(tmp_path / 'b.dcm', image)
    half = cv2.resize(image, (225, 155), interpolation=cv2.INTER_AREA)
    write_dicom(tmp_path / 'a.dcm', half, mpp=1.0)
    slide = open_slide(tmp_path)
    assert (slide.backend, slide.mpp) == ('wsidicom', pytest.approx(0.5))
    assert slide.level_sizes == ((450, 310), (225, 155))
    check(slide, image)
    np.testing.assert_array_equal(slide.read(40, 20, 90, 70, 1.0), half[10:80, 20:110])


def test_levels_of_a_folder_are_one_slide(tmp_path, image):
    for name, size in [('a', 200), ('b', 300), ('c', 250)]:
        write_dicom(tmp_path / f'{name}.dcm', image[:size, :size])
    (tmp_path / 'other').mkdir()
    write_dicom(tmp_path / 'other' / 'd.dcm', image)
    (tmp_path / 'e.svs').touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_slides(tmp_path)]
    assert found == ['b.dcm', 'e.svs', 'other/d.dcm']
    (tmp_path / 'f.dcm').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'f.dcm: cannot be read as DICOM'):
        find_slides(tmp_path)


def test_compression_that_others_refuse(tmp_path, image):
    slide = open_slide(write_dicom(tmp_path / 'rle.dcm', image, syntax=RLELossless))
    assert (slide.backend, slide.mpp) == ('pydicom', pytest.approx(0.5))
    check(slide, image)


@pytest.mark.parametrize('by_column', [False, True])
def test_frames_without_positions(tmp_path, image, by_column):
    slide = open_slide(write_dicom(tmp_path / 'bare.dcm', image, complete=False, by_column=by_column), mpp=0.3)
    assert (slide.backend, slide.mpp) == ('pydicom', 0.3)
    check(slide, image)


def test_jpeg_frames_without_positions(tmp_path, image):
    path = write_dicom(tmp_path / 'bare.dcm', image, complete=False, by_column=True, syntax=JPEGBaseline8Bit)
    assert np.abs(open_slide(path).read(0, 0, 450, 310).astype(int) - image).mean() < 2


def test_frames_that_do_not_cover_the_slide(tmp_path, image):
    path = write_dicom(tmp_path / 'few.dcm', image, complete=False)
    data = pydicom.dcmread(path)
    data.TotalPixelMatrixRows = 900
    data.save_as(path)
    message = (
        r'few.dcm: cannot be .* it has 12 frames of 128×128 pixels, expected 32 without positions, to cover 450×900'
    )
    with pytest.raises(ValueError, match=message):
        open_slide(path)


def test_other_dicom_is_no_slide(tmp_path, image):
    path = write_dicom(tmp_path / 'other.dcm', image, complete=False)
    data = pydicom.dcmread(path)
    del data.TotalPixelMatrixRows
    data.save_as(path)
    with pytest.raises(
        ValueError, match=r'other.dcm: cannot be opened as a slide: .*pydicom finds no frames of a slide'
    ):
        open_slide(path)


def test_broken_frame_names_the_file(tmp_path, image):
    path = write_dicom(tmp_path / 'broken.dcm', image, complete=False, syntax=JPEGBaseline8Bit)
    slide = open_slide(path)
    frames = pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=12)
    last = list(frames)[11]
    path.write_bytes(path.read_bytes().replace(last, bytes(len(last))))
    slide.close()
    with pytest.raises(ValueError, match=r'broken.dcm: region x 400 to 405, y 300 to 305 of level 0 cannot be read'):
        slide.read(400, 300, 5, 5)


def test_real_slide_that_openslide_refuses(real_data):
    """Its frames lie column by column: seams of the slide as it is read are hardly sharper than tissue around."""
    slide = open_slide(real_data / 'wsi/small_dicom.dcm', mpp=4.0)
    assert slide.size == (3236, 2638)
    whole = slide.read(0, 0, 3236, 2638).astype(int)
    steps = np.abs(np.diff(whole, axis=1)).mean(axis=(0, 2))
    for seam in range(499, 3000, 500):
        assert steps[seam] < 1.5 * steps[seam - 60 : seam + 60].mean()
    with pytest.raises(ValueError, match=r'small_dicom.dcm: the file has no pixel size'):
        _ = open_slide(real_data / 'wsi/small_dicom.dcm').mpp
