# M_pl in place of both matchings of VICRegL
_base_ = '../vicregl/vicregl_r18_nct.py'
model = dict(matchers=[dict(type='histomm.PreciseLocationMatcher')])
